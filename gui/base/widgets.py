"""Widgets that several panels and the window make alike: lists, buttons, boxes to search with, scroll areas."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from . import theme
from .launch import Summary

L = TypeVar("L", bound=QtWidgets.QLayout)
V = TypeVar("V", bound=QtWidgets.QAbstractItemView)

HEADS = ["run", "state", "accuracy", "begun"]
"""Heads of a list of runs."""
ROLE = QtCore.Qt.ItemDataRole.UserRole
"""Under which an item of a list keeps what it stands for: of a run its folder, as text."""


def plain_list(heads: list[str], name: str, widths: tuple[int, ...]) -> QtWidgets.QTreeWidget:
    """An empty list with columns under `heads`, the first of them `widths` pixels wide; screen readers say `name`."""
    widget: QtWidgets.QTreeWidget = copied(QtWidgets.QTreeWidget())
    widget.setHeaderLabels(heads)
    widget.setRootIsDecorated(False)
    widget.setUniformRowHeights(True)
    widget.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.ExtendedSelection)
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


class _Copies(QtCore.QObject):
    """Takes Ctrl+C from a view of rows."""

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """Copy where it is pressed, and hide the key from the view, which would copy one cell."""
        copies = event.type() == QtCore.QEvent.Type.KeyPress and event.matches(QtGui.QKeySequence.StandardKey.Copy)
        if copies:
            QtWidgets.QApplication.clipboard().setText(as_text(self.parent()))
        return bool(copies)


def copied(view: V) -> V:
    """A view of rows of which Ctrl+C copies those that are chosen, or all, as a spreadsheet takes them."""
    view.installEventFilter(_Copies(view))
    return view


def as_text(view: QtWidgets.QAbstractItemView) -> str:
    """The rows that are chosen in a table, tree or list, or all where none is, as lines of cells with tabs between
    them, with the heads that are seen. What is hidden or folded away is left out."""
    model, across = view.model(), QtCore.Qt.Orientation.Horizontal
    head: QtWidgets.QHeaderView | None = None
    if isinstance(view, QtWidgets.QTableView):
        head = view.horizontalHeader()
    elif isinstance(view, QtWidgets.QTreeView):
        head = view.header()
    columns = [0] if head is None else [at for at in range(head.count()) if not head.isSectionHidden(at)]
    every, chosen = list(_rows(view, QtCore.QModelIndex())), view.selectionModel()
    rows = [row for row in every if chosen.isRowSelected(row.row(), row.parent())] or every
    lines = [[row.sibling(row.row(), column).data() for column in columns] for row in rows]
    if isinstance(view, QtWidgets.QTableView) and not view.verticalHeader().isHidden():
        down = QtCore.Qt.Orientation.Vertical
        lines = [[model.headerData(row.row(), down), *line] for row, line in zip(rows, lines)]
        columns = [-1, *columns]  # there is no head over the names of rows
    if head is not None and not head.isHidden():
        lines.insert(0, [model.headerData(column, across) if column >= 0 else None for column in columns])
    texts = [["" if cell is None else " ".join(str(cell).split()) for cell in line] for line in lines]
    return "\n".join("\t".join(line) for line in texts)


def _rows(view: QtWidgets.QAbstractItemView, under: QtCore.QModelIndex) -> Iterator[QtCore.QModelIndex]:
    """The rows of a view from the top, those of a branch below it where it is unfolded."""
    for row in range(view.model().rowCount(under)):
        index = view.model().index(row, 0, under)
        tree = isinstance(view, QtWidgets.QTreeView)
        if view.isRowHidden(row, under) if tree else view.isRowHidden(row):
            continue
        yield index
        if tree and view.isExpanded(index):
            yield from _rows(view, index)


def sheet(model: QtCore.QAbstractTableModel, name: str) -> QtWidgets.QTableView:
    """A table of whole rows to read, choose and copy; screen readers say `name`."""
    view: QtWidgets.QTableView = copied(QtWidgets.QTableView())
    view.setModel(model)
    view.setAccessibleName(name)
    view.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
    view.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
    view.setTabKeyNavigation(False)
    view.setShowGrid(False)
    view.setWordWrap(False)
    view.verticalHeader().hide()
    view.verticalHeader().setDefaultSectionSize(view.fontMetrics().height() + 4)
    return view


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
