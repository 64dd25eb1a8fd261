"""Data structures: records, the canvas format, Arrow columns, recipe, manifest."""
