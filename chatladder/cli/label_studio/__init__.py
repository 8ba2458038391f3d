"""Annotation in Label Studio: the export of tasks, and the import of answers."""
