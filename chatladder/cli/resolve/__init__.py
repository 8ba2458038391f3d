"""New messages of a chat, answered by a tuned model: read as the pipeline reads them, and rewritten if asked."""
