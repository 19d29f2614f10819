"""The window: watch a chip learn, live or replayed. Installed as l2sim.gui; needs the extra `gui`.

Qt comes through `pyqtgraph.Qt` only, so that another binding can be chosen with PYQTGRAPH_QT_LIB.
"""

import os

__all__ = ["base", "mesh", "panels", "window"]

os.environ.setdefault("PYQTGRAPH_QT_LIB", "PyQt5")  # else pyqtgraph takes whichever binding it finds first
