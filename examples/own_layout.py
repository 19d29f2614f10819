"""A layout of meshes of your own: the rectangle with half of its columns, which is less than universal.

    l2sim run insitu-digits --import examples/own_layout.py --set insitu.mesh=half
"""

from l2sim.mesh import layouts

layouts.register("half", lambda modes: layouts.rectangular(modes, max(modes // 2, 1)))
