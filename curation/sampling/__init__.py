"""Sampling traces: one service over all shards, and the journal that loses none."""
