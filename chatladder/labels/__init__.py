"""What people answer: the log, agreement, and the split that follows from it."""
