"""How is a job run and followed while it runs: execution, the console, the live stream and its readers, trackers."""
