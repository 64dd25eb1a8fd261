"""Prefect, and only here: flows, recipes and the command line."""
