"""What does a run say beside its mesh: blocks, curves, matrices, diagnoses, hardware, events and time?"""

__all__ = [
    "blocks", "chart", "comparison", "curves", "diagnosis", "distributions", "envelope",
    "eventlog", "hardware", "health", "inspector", "lab", "matrix", "phases", "quantities", "registry", "runs",
    "scrubber", "timeline",
]  # fmt: skip
