"""The command `polytrace publish`: releases, models and reports on the Hub or in a bucket."""
