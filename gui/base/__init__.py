"""What do the mesh view, the panels and the window share: models of runs, actions, theme, launching, files?"""

__all__ = [
    "actions", "fields", "files", "launch", "layout", "link", "links", "message", "model",
    "painting", "panel", "quantities", "theme", "ticks", "widgets",
]  # fmt: skip
