"""How `transformers_local` runs a model in this process."""
