"""How numbers and formulas are written: Unicode, words, units."""
