"""Where in a text the final answer stands, and where the solution ends."""
