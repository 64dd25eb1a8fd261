"""What a recipe by a stranger may not do, and the check of it."""
