"""Removal of a member from a project: their records in exports, answers about their questions, and all derived data."""
