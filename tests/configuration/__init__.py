"""Doubts about what an operator writes, and about which code runs."""
