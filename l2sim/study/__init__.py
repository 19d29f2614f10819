"""Studies of the chips: what their imperfections do, each with a figure and a table made by one command."""

import sys

from l2sim.blas import prepare

if sys.argv[:1] == ["-m"]:  # while Python looks for the program `python -m l2sim.study.NAME`
    prepare()  # before anything imports NumPy
