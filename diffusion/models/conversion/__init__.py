"""From a family's published config.json and weights to transformers' classes, and back."""
