"""What became of a run: its arrays, its chips rebuilt, experiments on them, error budgets and findings."""
