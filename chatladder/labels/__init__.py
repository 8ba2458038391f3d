"""The answers that people give: the log, agreement, and the split that follows from it."""
