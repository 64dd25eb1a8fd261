"""Judge a trace, a group or a text."""
