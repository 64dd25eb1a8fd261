"""SeqDep of any corpus: its documents, their scores, the report and its picture."""
