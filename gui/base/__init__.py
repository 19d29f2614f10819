"""What do the mesh view, the panels and the window share: models of runs, actions, theme, launching, files, plots?"""

__all__ = [
    "actions", "fields", "files", "launch", "layout", "link", "links", "message", "model",
    "painting", "panel", "plot", "theme", "ticks", "widgets",
]  # fmt: skip
