"""Programs that made bundled data; they are not in the wheel."""
