"""Answers of a tuned model to new messages of a chat, which are read as in the pipeline, and rewritten on request."""
