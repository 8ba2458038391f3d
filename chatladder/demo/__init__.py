"""The simulated group chat and its simulated annotators."""
