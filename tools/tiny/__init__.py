"""How the tiny models and their problems were made: generator, training, measurement."""
