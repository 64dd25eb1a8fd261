"""The bundled fine-tuning and evaluation stage."""
