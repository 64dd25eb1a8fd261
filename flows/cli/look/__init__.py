"""The commands that only look at a run: `inspect` in the terminal, `report` and `view` as pages."""
