"""A released corpus in tokens: the layout of an answer, and instances."""
