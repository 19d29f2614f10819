"""`python -m l2sim.gui` is `l2sim-gui`."""

from .window.app import main

main()
