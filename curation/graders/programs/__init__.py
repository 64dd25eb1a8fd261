"""Programs in traces and the tests that they must pass: what the grader `code` is made of."""
