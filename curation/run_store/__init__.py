"""The files of a run's stages, and their markers."""
