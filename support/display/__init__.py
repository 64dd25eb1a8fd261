"""How values are shown to people: text, tables, pictures, rounded numbers and progress."""
