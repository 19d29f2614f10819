"""How many jobs are run as one: a grid of jobs, its plan, engines, log, table and page."""
