"""Annotate, adjudicate and review in the terminal or in a browser."""
