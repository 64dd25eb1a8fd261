"""Parts of the grader `judge`: its question, its verdict, and the conversation with a server."""
