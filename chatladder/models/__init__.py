"""The ladder's models: prompts, tokens, loading, and scoring of options."""
