"""Every panel beside the mesh by its title, and where it stands at first. `register` adds another one
(docs/extending.md). No Qt here: what adds a panel may serve runs without a window too."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from l2sim.errors import PluginError
from l2sim.plugins import Registry

if TYPE_CHECKING:
    from ..base.model import Selection
    from ..base.panel import Panel

LEFT, RIGHT, BELOW = SIDES = "left", "right", "below"


class Place(NamedTuple):
    """What a panel is, its class or "MODULE:CLASS", on which side of the mesh it is, and the panel behind whose tab it
    has one, "" where it has room of its own; and where docs/desktop.md says more."""

    panel: type[Panel] | str
    side: str
    behind: str = ""
    section: str = ""

    def made(self, title: str, selection: Selection) -> Panel:
        """The panel. PluginError in one line where there is no such class, it is no Panel or it cannot be made."""
        from ..base import panel as panels  # late: Qt

        try:
            kind = self.panel
            if isinstance(kind, str):
                module, _, name = kind.partition(":")
                kind = getattr(import_module(module), name)
            if not (isinstance(kind, type) and issubclass(kind, panels.Panel)):
                raise PluginError(f"{kind!r} is no class of l2sim.gui.base.panel.Panel")
            panel = kind(selection)
        except Exception as error:
            text = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            raise PluginError(f"panel {title!r} cannot be made: {text}".replace("\n", " ")) from error
        panel.title, panel.section = title, self.section
        return panel


PANELS: Registry[Place] = Registry("panel")


def register(title: str, panel: type[Panel] | str, side: str = "", behind: str = "Curves") -> None:
    """Add a panel: a class of `l2sim.gui.base.panel.Panel`, or "MODULE:CLASS", which only a window imports. It has a
    tab beside the panel `behind`, or with a `side` ("left", "right", "below") room of its own there. PluginError where
    the title is taken, or there is no such side or panel."""
    if not isinstance(panel, type | str):
        raise PluginError(f"panel {title!r} is {panel!r}; give a class, or its place as 'MODULE:CLASS'")
    if side not in ("", *SIDES):
        raise PluginError(f"panel {title!r} has the side {side!r}; use one of {', '.join(SIDES)}")
    if not side and behind not in PANELS.known:
        raise PluginError(f"panel {title!r} is to stand behind {behind!r}; use one of {', '.join(PANELS.known)}")
    PANELS.register(title, Place(panel, side) if side else Place(panel, PANELS.known[behind].side, behind))


for _title, _panel, _side, _behind, _section in (
    ("Blocks", "blocks:Blocks", LEFT, "", "A run"),
    ("Matrix", "matrix:Matrix", LEFT, "", "A run"),
    ("Distributions", "distributions:Distributions", LEFT, "Matrix", "A run"),
    ("Inspector", "inspector:Inspector", RIGHT, "", "A run"),
    ("Hardware", "hardware:Hardware", RIGHT, "", "A run"),
    ("Events", "eventlog:EventLog", RIGHT, "Hardware", "A run"),
    ("Runs", "runs:Runs", RIGHT, "Hardware", "A run"),
    ("Curves", "curves:Curves", BELOW, "", "A run"),
    ("Traces", "phases.traces:Traces", BELOW, "Curves", "A run"),
    ("Diagnosis", "diagnosis.panel:Diagnosis", BELOW, "Curves", "Why is it bad?"),
    ("Health", "health:Health", BELOW, "Curves", "A run"),
    ("Heaters", "lab.heaters:Heaters", BELOW, "Curves", "A run"),
    ("Ports", "lab.ports:Ports", BELOW, "Curves", "A run"),
    ("Compare", "comparison.compare:Compare", BELOW, "Curves", "A run"),
):
    PANELS.register(_title, Place(f"{__package__}.{_panel}", _side, _behind, _section))
