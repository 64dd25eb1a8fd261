"""How sequential real text is: what docs/sequentiality.md shows, from the data to the pictures."""
