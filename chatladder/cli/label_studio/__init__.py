"""Annotating in Label Studio instead of here: what is shown there, and what comes back."""
