"""Before anything runs: what this machine has, what each rung needs and how long it takes, and what does not hold."""
