"""What is in a run folder and how is it written and read: events, logs, manifest, checkpoints, tensors."""
