"""Which labels are probably wrong: cheap baselines, evidence put together, and the queue to look at again."""
