"""A list of runs, as the start page and the panel of runs show it: name, state, accuracy, begun."""

from __future__ import annotations

import time

from pyqtgraph.Qt import QtCore, QtWidgets

from .launch import Summary

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


def run_item(run: Summary) -> QtWidgets.QTreeWidgetItem:
    """A run as a line of a list under `HEADS`."""
    accuracy = "" if run.accuracy is None else f"{100 * run.accuracy:.2f} %"
    begun = time.strftime("%d %b %H:%M", time.localtime(run.started)) if run.started else ""
    item = QtWidgets.QTreeWidgetItem([run.folder.name, run.state, accuracy, begun])
    item.setData(0, ROLE, str(run.folder))
    item.setToolTip(0, run.problem or str(run.folder))
    item.setToolTip(1, run.problem)
    item.setTextAlignment(2, QtCore.Qt.AlignmentFlag.AlignRight)
    return item
