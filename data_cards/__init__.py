"""The data card template and the cards of released recipes."""
