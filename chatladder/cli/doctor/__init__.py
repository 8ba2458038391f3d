"""Before anything runs: what this machine has, what each rung needs, and what of the setup is amiss."""
