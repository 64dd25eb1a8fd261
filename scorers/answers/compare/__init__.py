"""Whether two answers are equal, by rules of our own."""
