"""Why is it bad? A process of its own finds out, and a tab for each kind of diagnosis shows what it says."""

__all__ = ["panel", "results", "tables", "views"]
