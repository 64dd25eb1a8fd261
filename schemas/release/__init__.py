"""Sections of a recipe about the released dataset: how it is cut, and what its makers say of it."""
