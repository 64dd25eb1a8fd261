"""vLLM servers that a build starts, watches and ends."""
