"""What the columns of a raw record mean: prompt, gold answer, recorded traces."""
