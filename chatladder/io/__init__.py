"""Files, rows between stages, and the console."""
