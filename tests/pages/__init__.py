"""Doubts about what pages and programs of others use: the client libraries and their examples."""
