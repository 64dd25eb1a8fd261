"""`polytrace deploy`: builds on a Prefect server, by a schedule or a form."""
