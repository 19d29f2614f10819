"""Widgets that several panels and the window make alike: lists, buttons, boxes to search with, scroll areas."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from . import theme
from .launch import Summary

L = TypeVar("L", bound=QtWidgets.QLayout)

HEADS = ["run", "state", "accuracy", "begun"]
"""Heads of a list of runs."""
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


class Sheet(QtWidgets.QTableView):
    """A table of which Ctrl+C copies the rows that are chosen, or all, with heads, as a spreadsheet takes them; the
    heads of rows too, where they are shown."""

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        if not event.matches(QtGui.QKeySequence.StandardKey.Copy):
            super().keyPressEvent(event)
            return
        model = self.model()
        rows = sorted(index.row() for index in self.selectionModel().selectedRows()) or range(model.rowCount())
        columns, across = range(model.columnCount()), QtCore.Qt.Orientation.Horizontal
        names = not self.verticalHeader().isHidden()
        lines = [[model.headerData(column, across) for column in columns]]
        lines += [[model.data(model.index(row, column)) for column in columns] for row in rows]
        if names:
            heads = [model.headerData(row, QtCore.Qt.Orientation.Vertical) for row in rows]
            lines = [[head, *line] for head, line in zip(["", *heads], lines)]
        QtWidgets.QApplication.clipboard().setText("\n".join("\t".join(map(str, line)) for line in lines))


def tool_button(text: str, tip: str, name: str, clicked: Callable[[], object]) -> QtWidgets.QToolButton:
    """A small button with a word on it; screen readers say `name`. `clicked` may be a signal."""
    button = QtWidgets.QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setAccessibleName(name)
    button.clicked.connect(clicked)
    return button


def search_box(what: str, name: str = "") -> QtWidgets.QLineEdit:
    """A line to type words into that are looked for; `what` is said in it, and by screen readers unless `name` is."""
    box = QtWidgets.QLineEdit(placeholderText=what)
    box.setAccessibleName(name or what)
    box.setClearButtonEnabled(True)
    return box


def has_words(text: str, sought: str) -> bool:
    """Whether every word that is sought is in the text, in any order; capitals do not matter."""
    text = text.lower()
    return all(word in text for word in sought.lower().split())


def scrolling(widget: QtWidgets.QWidget | None = None) -> QtWidgets.QScrollArea:
    """An area without a frame that scrolls the widget, which is as wide as there is room."""
    area = QtWidgets.QScrollArea()
    if widget is not None:
        area.setWidget(widget)
    area.setWidgetResizable(True)
    area.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
    return area


def paragraph(
    role: str, text: str = "", name: str = "", margins: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> QtWidgets.QLabel:
    """Text over as many lines as it needs, with one of the looks of the theme ("": none); screen readers say `name`."""
    label = QtWidgets.QLabel(text)
    label.setWordWrap(True)
    label.setContentsMargins(*margins)
    label.setAccessibleName(name)
    return theme.mark(label, role) if role else label


def filled(
    layout: L, *members: object, margins: tuple[int, int, int, int] = (0, 0, 0, 0), spacing: int | None = None
) -> L:
    """The layout with its members in a row, `spacing` pixels apart or as the style has it. A member is a widget or
    another layout, a pair of one and its stretch, or a number: an empty stretch."""
    layout.setContentsMargins(*margins)
    if spacing is not None:
        layout.setSpacing(spacing)
    for member in members:
        part, stretch = member if isinstance(member, tuple) else (member, 0)
        if isinstance(part, int):
            layout.addStretch(part)
        elif isinstance(part, QtWidgets.QLayout):
            layout.addLayout(part, stretch)
        else:
            layout.addWidget(part, stretch)
    return layout
