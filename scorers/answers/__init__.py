"""Whether the final answer of a trace is the gold answer."""
