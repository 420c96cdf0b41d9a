"""The shell around the engine, without Ray: mailboxes, shard, feeds and effects in this process."""
