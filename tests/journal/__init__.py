"""Doubts about what is durable: the journal over both stores, small records, the archive and the follower that feeds it."""
