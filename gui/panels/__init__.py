"""What does a run say beside its mesh: blocks, curves, matrices, diagnoses, hardware, events and time?"""

__all__ = [
    "blocks", "chart", "curves", "diagnose", "diagnose_results", "diagnose_views", "distributions", "envelope",
    "eventlog", "hardware", "inspector", "lab", "matrix", "runs", "scrubber", "timeline",
]  # fmt: skip
