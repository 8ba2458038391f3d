"""Which stages have run, and what to do next."""
