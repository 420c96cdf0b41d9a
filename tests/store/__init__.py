"""Doubts about processes: the embedded store under kill -9, and the record of what was started."""
