"""Commands about what was decoded: `tables` of evaluations, `arness` of any log."""
