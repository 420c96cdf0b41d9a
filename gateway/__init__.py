"""The edge: connections, roles, typed messages. Holds no truth; every answer comes from a shard."""
