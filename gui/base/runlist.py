"""A list of runs, as the start page and the panel of runs show it: name, state, accuracy, begun."""

from __future__ import annotations

import time
from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

HEADS = ["run", "state", "accuracy", "begun"]
ROLE = QtCore.Qt.ItemDataRole.UserRole
"""Under which an item of a list keeps what it stands for: of a run its folder, as text."""


def plain_list(heads: list[str], name: str, widths: tuple[int, ...]) -> QtWidgets.QTreeWidget:
    """An empty list with columns under `heads`, the first of them `widths` pixels wide; screen readers say `name`."""
    widget = QtWidgets.QTreeWidget()
    widget.setHeaderLabels(heads)
    widget.setRootIsDecorated(False)
    widget.setUniformRowHeights(True)
    widget.setAccessibleName(name)
    widget.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
    for column, width in enumerate(widths):
        widget.setColumnWidth(column, width)
    return widget


def run_item(row: dict[str, Any]) -> QtWidgets.QTreeWidgetItem:
    """A run as a line of a list under `HEADS`, from its summary (`launch.summary`)."""
    accuracy = "" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f} %"
    begun = time.strftime("%d %b %H:%M", time.localtime(row["started"])) if row["started"] else ""
    item = QtWidgets.QTreeWidgetItem([row["name"], row["state"], accuracy, begun])
    item.setData(0, ROLE, str(row["folder"]))
    item.setToolTip(0, row["problem"] or str(row["folder"]))
    item.setToolTip(1, row["problem"])
    item.setTextAlignment(2, QtCore.Qt.AlignmentFlag.AlignRight)
    return item
