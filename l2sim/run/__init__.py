"""Jobs, the flow of stages, the run folder, data sets, reports and the command line."""
