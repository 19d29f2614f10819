"""MZIs that are named in a sentence as links: a click selects them."""

from __future__ import annotations

import re
from html import escape

from pyqtgraph.Qt import QtCore, QtWidgets

from .model import Selection

_NAMED = re.compile(r"(?:(U|V\*) )?(?:(?:θ|φ|theta|phi) of )?MZI (\d+)(?: \([^()]*\))?")
_SIDES = {"U": "u", "V*": "v", None: ""}


def address(layer: str, block: int, side: str, element: int) -> str:
    """Where an MZI is, as the address of a link."""
    return f"mzi:{layer}/{block}/{side}/{element}"


def linked(sentence: str, layer: str, block: int) -> str:
    """A sentence on one block, in rich text, in which every MZI that it names ("U MZI 3") has become a link."""

    def link(named: re.Match[str]) -> str:
        where = address(layer, block, _SIDES[named[1]], int(named[2]))
        return f'<a href="{escape(where)}">{named[0]}</a>'

    return _NAMED.sub(link, sentence)


def go(selection: Selection, where: str) -> None:
    """Select the MZI with this address; of another kind of address nothing."""
    kind, _, place = where.partition(":")
    if kind == "mzi":
        layer, block, side, element = place.rsplit("/", 3)
        selection.set(layer=layer, block=int(block), side=side, element=int(element))


def follow(label: QtWidgets.QLabel, selection: Selection) -> None:
    """Let a click on a link in the label select what it names; its text, which is rich, can be copied."""
    flags = QtCore.Qt.TextInteractionFlag
    label.setTextFormat(QtCore.Qt.TextFormat.RichText)
    label.setTextInteractionFlags(flags.TextSelectableByMouse | flags.LinksAccessibleByMouse)
    label.linkActivated.connect(lambda where: go(selection, where))
