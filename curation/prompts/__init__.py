"""Which rows become prompts: duplicates and evaluation problems are left out."""
