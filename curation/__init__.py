"""Make the corpus: prompts, traces, groups, canvases, filters, release; no Prefect here."""
