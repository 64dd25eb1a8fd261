"""What is said of a release, beside its rows: origin, cost, limits, and the files that say it."""
