"""What do the mesh view, the panels and the window share: models of runs, actions, theme, launching, files?"""

__all__ = [
    "actions", "beat", "fields", "files", "launch", "layout", "link", "message", "model", "painting", "panel",
    "quantities", "theme", "ticks", "widgets",
]  # fmt: skip
