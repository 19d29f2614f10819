"""What a shell sees: the commands of `l2sim`."""
