"""One member leaves a project: their records in exports, answers about their questions, and all that was derived."""
