"""OpenAI's batch API: files of requests that a server works off within a day, at half the price."""
