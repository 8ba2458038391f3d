"""Checks before anything runs: the machine, the needs and the time of each rung, and problems of the setup."""
