"""Decoding rules, one file each: a frozen dataclass, named `build` for recipes."""
