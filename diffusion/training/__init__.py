"""Fine-tuning: objective, loop, checkpoints, validation."""
