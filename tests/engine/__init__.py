"""Doubts about `dispatch/`: rules one by one, a dumb twin under random commands, invariants and replay after each step."""
