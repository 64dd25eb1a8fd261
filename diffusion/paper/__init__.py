"""The paper's tables, figures and claims, from what was evaluated."""
