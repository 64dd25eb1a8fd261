"""Prefect flows, bundled recipes and the command line. No other package imports Prefect."""
