"""What everything else is made of: records, the canvas format, Arrow columns, the recipe."""
