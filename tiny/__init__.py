"""The embedded default: a word-problem generator, and the weights and recipes of tiny models."""
