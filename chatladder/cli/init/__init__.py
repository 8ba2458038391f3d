"""A project's beginning, and where it stands: what is there, what is stale, and the next useful step."""
