"""The work of an evaluation in pieces: planned, decoded, and shared by processes or machines."""
