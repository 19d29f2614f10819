"""A panel of your own: the ten phases that moved most in the stage on show; a click goes to one.

    l2sim-gui RUN_DIR --import examples/own_panel.py

The panel is a class in own_movers.py beside this file. Only a window imports it: jobs import this file too, without Qt.
"""

from l2sim.gui.panels.registry import register

register("Movers", f"{__name__}.own_movers:Movers")
