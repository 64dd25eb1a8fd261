"""From the graded traces of a prompt to one canvas."""
