"""Scores, intervals and growth with model size, computed from predictions alone."""
