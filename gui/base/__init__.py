"""What do the mesh view, the panels and the window share: models of runs, actions, theme, launching, files?"""

__all__ = [
    "actions", "fields", "figures", "files", "films", "launch", "layout", "link", "links", "message", "model",
    "painting", "panel", "quantities", "theme", "ticks", "widgets",
]  # fmt: skip
