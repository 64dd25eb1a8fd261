"""Sequential dependence: what a segment of a text gains from those before it."""
