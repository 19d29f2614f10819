"""What can be known of a chip from its readings: a model of it is fitted, and phases are computed on that."""
