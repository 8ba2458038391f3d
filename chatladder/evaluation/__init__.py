"""Scores, intervals and growth with size, from predictions alone."""
