"""`python -m l2sim.gui` is `l2sim-gui`."""

from .app import main

main()
