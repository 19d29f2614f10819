"""What do phases do: those of a few MZIs side by side, those of all of a core from step to step?"""

__all__ = ["pins", "sampled", "traces"]
