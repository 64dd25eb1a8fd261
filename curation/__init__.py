"""Make the corpus: prompts, traces, groups, canvases, filters, release. Plain Python, no Prefect."""
