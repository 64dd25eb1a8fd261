"""Evaluating models: problems in, graded answers and their counts out."""
