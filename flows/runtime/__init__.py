"""What flows run on: task runners, commands in processes, a Prefect server."""
