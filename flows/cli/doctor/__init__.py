"""`polytrace doctor`: what this machine can do, and which bundled recipes fit it."""
