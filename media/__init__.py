"""Media workers: rooms in which encoded packets are forwarded between the parties, and recorded.

Knows nothing of calls' routing: a room has an id, an attempt and parties. Never imports `dispatch` or Ray.
"""
