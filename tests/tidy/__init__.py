"""Doubts about the tree itself: sizes, words and maps."""
