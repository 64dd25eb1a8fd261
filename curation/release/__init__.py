"""The released dataset: rows, files, statistics, the data card, and their proof."""
