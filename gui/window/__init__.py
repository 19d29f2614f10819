"""How are panels, pages, commands and dialogs one window, and who opens it or takes its picture?"""

__all__ = [
    "app", "beat", "commands", "desk", "dialogs", "jobform", "opening", "pictures", "screenshot", "splash", "start",
    "warm", "window",
]  # fmt: skip
