"""math-verify in processes of its own."""
