"""How does a mesh look: where its MZIs stand, what light and values are in them, how they are coloured and drawn?"""

__all__ = [
    "canvas", "colours", "geometry", "history", "legend", "light", "raster", "shapes", "svg", "threshold", "values",
    "view", "words",
]  # fmt: skip
