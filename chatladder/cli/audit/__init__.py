"""What the audit searches with: every text in a file, and what must not be in it."""
