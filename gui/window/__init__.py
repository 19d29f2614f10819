"""How are panels, pages, commands and dialogs one window, and who opens it or takes its picture?"""

__all__ = [
    "app", "beat", "commands", "desk", "dialogs", "docktitle", "figures", "films", "first", "guarded", "jobform",
    "opening", "pictures", "screenshot", "strip", "window",
]  # fmt: skip
