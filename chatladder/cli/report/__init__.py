"""The page about a round of annotation: its figures, its plots, its template."""
