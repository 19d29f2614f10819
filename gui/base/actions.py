"""Everything the window can do, as named actions: menus, shortcuts, the command palette and the sheet of keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from . import theme
from .widgets import copied, has_words

_Context = QtCore.Qt.ShortcutContext


class Actions:
    """The actions of a window by name. Each has a text, a tooltip with its key, and a group, which is its menu."""

    def __init__(self, window: QtWidgets.QWidget) -> None:
        self._window = window
        self._actions: dict[str, QtGui.QAction] = {}

    def add(
        self,
        name: str,
        group: str,
        text: str,
        tip: str,
        keys: str,
        callback: Callable[[], object],
        *,
        toggles: bool = False,
    ) -> QtGui.QAction:
        """Make an action; `keys` are shortcuts separated by spaces. Its tooltip has the first one."""
        action = QtGui.QAction(text, self._window)
        action.setObjectName(name)
        action.setProperty("group", group)
        action.setProperty("accessibleName", text.replace("&", ""))
        shortcuts = [QtGui.QKeySequence(key) for key in keys.split()]
        action.setShortcuts(shortcuts)
        shown = f" ({shortcuts[0].toString()})" if shortcuts else ""
        action.setToolTip(f"{tip}{shown}")
        action.setStatusTip(tip)
        action.setCheckable(toggles)
        action.triggered.connect(lambda *_: callback())
        self._window.addAction(action)
        self._actions[name] = action
        return action

    def within(self, name: str, widget: QtWidgets.QWidget) -> None:
        """Let the shortcut of an action count only while `widget` or something in it has the focus."""
        self._window.removeAction(self._actions[name])
        self._actions[name].setShortcutContext(_Context.WidgetWithChildrenShortcut)
        widget.addAction(self._actions[name])

    def __getitem__(self, name: str) -> QtGui.QAction:
        return self._actions[name]

    def __iter__(self) -> Iterator[QtGui.QAction]:
        return iter(self._actions.values())

    def groups(self) -> dict[str, list[QtGui.QAction]]:
        """The actions by group, in the order they were added."""
        groups: dict[str, list[QtGui.QAction]] = {}
        for action in self:
            groups.setdefault(action.property("group"), []).append(action)
        return groups

    def button(self, name: str, text: str | None = None) -> QtWidgets.QToolButton:
        """A tool button of an action, which takes the focus by Tab only: a click leaves Space to run and pause."""
        button = QtWidgets.QToolButton()
        button.setDefaultAction(self._actions[name])
        button.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        button.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        button.setAccessibleName(self._actions[name].property("accessibleName"))
        button.setAccessibleDescription(self._actions[name].statusTip())
        button.setAutoRaise(True)
        if text is not None:
            button.setText(text)
        return button


def icon(shape: str) -> QtGui.QIcon:
    """A sign for a button in the colour of text: play, pause, step, epoch, stop, kill."""
    bars = {
        "pause": ((3, 2, 4, 12), (9, 2, 4, 12)),
        "step": ((11, 2, 3, 12),),
        "epoch": ((12, 2, 3, 12),),
        "stop": ((3, 3, 10, 10),),
    }
    arrows = {"play": (3,), "step": (2,), "epoch": (0, 6)}
    picture = QtGui.QPixmap(16, 16)
    picture.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(picture)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor(theme.now().bad if shape == "kill" else theme.now().text))
    for bar in bars.get(shape, ()):
        painter.drawRect(*bar)
    for x in arrows.get(shape, ()):
        width = 6 if shape == "epoch" else 10
        painter.drawPolygon(
            QtGui.QPolygonF([QtCore.QPointF(x, 2), QtCore.QPointF(x, 14), QtCore.QPointF(x + width, 8)])
        )
    if shape == "kill":
        painter.setPen(QtGui.QPen(QtGui.QColor(theme.now().bad), 2.4))
        painter.drawLine(3, 3, 13, 13)
        painter.drawLine(13, 3, 3, 13)
    painter.end()
    return QtGui.QIcon(picture)


def left_to_widget(event: QtGui.QKeyEvent) -> bool:
    """Whether a key that is also a shortcut belongs to the button, list or box that has the focus, as people without
    a mouse expect: Space presses it, arrows move in it."""
    widget, keys = QtWidgets.QApplication.focusWidget(), QtCore.Qt.Key
    if isinstance(widget, QtWidgets.QAbstractItemView) and not event.modifiers():
        return event.key() in (keys.Key_Space, keys.Key_Left, keys.Key_Right, keys.Key_Home, keys.Key_End)
    return isinstance(widget, QtWidgets.QAbstractButton | QtWidgets.QComboBox) and event.key() == keys.Key_Space


class Palette(QtWidgets.QDialog):
    """Find an action by any words of its name, group or explanation, and do it."""

    def __init__(self, parent: QtWidgets.QWidget, actions: Actions, more: dict[str, Callable[[], object]]) -> None:
        super().__init__(parent)
        self.setWindowTitle("Commands")
        self.setAccessibleName("Commands")
        self._entries: list[tuple[str, str, Callable[[], object], bool]] = [
            (
                f"{action.property('group')}: {action.property('accessibleName')}",
                action.shortcut().toString(),
                action.trigger,
                action.isEnabled(),
            )
            for action in actions
        ]
        self._entries += [(name, "", callback, True) for name, callback in more.items()]
        self.line = QtWidgets.QLineEdit(placeholderText="Type a few letters of what you want to do")
        self.line.setAccessibleName("Search the commands")
        self.list: QtWidgets.QTreeWidget = copied(QtWidgets.QTreeWidget())
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setColumnCount(2)
        self.list.header().setStretchLastSection(False)
        self.list.header().setSectionResizeMode(0, QtWidgets.QHeaderView.ResizeMode.Stretch)
        self.list.header().setSectionResizeMode(1, QtWidgets.QHeaderView.ResizeMode.ResizeToContents)
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self.line)
        layout.addWidget(self.list)
        self.resize(560, 420)
        self.line.textChanged.connect(self._filter)
        self.line.returnPressed.connect(self._do)
        self.list.itemActivated.connect(lambda *_: self._do())
        self.line.installEventFilter(self)
        self._filter("")

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """Up and down in the line move in the list."""
        if event.type() == QtCore.QEvent.Type.KeyPress:
            step = {QtCore.Qt.Key.Key_Down: 1, QtCore.Qt.Key.Key_Up: -1}.get(event.key())
            if step:
                row = self.list.indexOfTopLevelItem(self.list.currentItem()) + step
                self.list.setCurrentItem(self.list.topLevelItem(row % max(1, self.list.topLevelItemCount())))
                return True
        return bool(super().eventFilter(watched, event))

    def _filter(self, text: str) -> None:
        self.list.clear()
        for name, key, callback, enabled in self._entries:
            if has_words(name, text):
                item = QtWidgets.QTreeWidgetItem([name, key])
                item.setData(0, QtCore.Qt.ItemDataRole.UserRole, callback)
                item.setDisabled(not enabled)
                self.list.addTopLevelItem(item)
        first = (self.list.topLevelItem(row) for row in range(self.list.topLevelItemCount()))
        usable = next((item for item in first if not item.isDisabled()), None)
        if usable is not None:
            self.list.setCurrentItem(usable)

    def _do(self) -> None:
        item = self.list.currentItem()
        if item is not None and not item.isDisabled():
            self.accept()
            item.data(0, QtCore.Qt.ItemDataRole.UserRole)()


class Keys(QtWidgets.QDialog):
    """The sheet of keys: every action that has one, by group."""

    def __init__(self, parent: QtWidgets.QWidget, actions: Actions) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        self.setAccessibleName("Keys")
        text = QtWidgets.QTextBrowser()
        text.setHtml(sheet(actions))
        text.setAccessibleName("Every key and what it does")
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(text)
        self.resize(760, 640)


def sheet(actions: Actions) -> str:
    """The sheet of keys as HTML, in two columns of groups."""
    now = theme.now()
    columns: list[list[str]] = [[], []]
    lengths = [0, 0]
    for group, members in actions.groups().items():
        rows = [
            f"<tr><td width=120><b>{escape(' or '.join(key.toString() for key in keys), quote=False)}</b></td>"
            f"<td>{escape(action.property('accessibleName'), quote=False)}</td></tr>"
            for action in members
            if (keys := action.shortcuts())
        ]
        if rows:
            shorter = lengths.index(min(lengths))
            lengths[shorter] += len(rows) + 2
            columns[shorter].append(f"<h3 style='color:{now.accent}'>{group}</h3><table>{''.join(rows)}</table>")
    mouse = (
        ("Mesh", "click selects, wheel zooms, drag moves, double click fits"),
        ("Blocks", "click opens a core, double click goes to the worst"),
        ("Curves", "click goes to a step, wheel and drag zoom, double click shows the whole run"),
        ("Timeline", "drag chooses the step"),
    )
    rows = [f"<tr><td width=120><b>{name}</b></td><td>{words}</td></tr>" for name, words in mouse]
    columns[lengths.index(min(lengths))].append(
        f"<h3 style='color:{now.accent}'>Mouse</h3><table>{''.join(rows)}</table>"
    )
    cells = "".join(f"<td width=340 style='vertical-align: top'>{''.join(column)}</td>" for column in columns)
    return f"<table cellspacing=8><tr>{cells}</tr></table>"


def emblem() -> QtGui.QIcon:
    """The icon of the window: a coupler, two waveguides that meet and part."""
    picture = QtGui.QPixmap(64, 64)
    picture.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(picture)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    for colour, sign in (("#56b4e9", 1), ("#e69f00", -1)):
        painter.setPen(QtGui.QPen(QtGui.QColor(colour), 6))
        path = QtGui.QPainterPath(QtCore.QPointF(4, 32 - 22 * sign))
        path.cubicTo(26, 32 - 22 * sign, 22, 32 - 5 * sign, 32, 32 - 5 * sign)
        path.cubicTo(42, 32 - 5 * sign, 38, 32 - 22 * sign, 60, 32 - 22 * sign)
        painter.drawPath(path)
    painter.end()
    return QtGui.QIcon(picture)
