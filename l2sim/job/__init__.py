"""What is a run asked to do: sections and fields, their ranges, checks, presets and experiments."""
