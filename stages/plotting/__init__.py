"""Rows of the small tables that ``dvc plots`` draws, by the templates in ``.dvc/plots``."""
