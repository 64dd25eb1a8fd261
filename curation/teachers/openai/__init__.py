"""How `openai_server` asks many OpenAI-compatible servers at once."""
