"""What is seen first: three runs to look at, the presets, the runs of before, and the ways to open another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from l2sim.job import experiments
from l2sim.job.presets import PRESETS

from ...base import theme
from ...base.launch import Summary, summaries
from ...base.widgets import HEADS, ROLE, filled, has_words, plain_list, run_item, search_box
from .examples import EXAMPLES, SIZE, Example, picture

GROUPS = {
    "l2ight": "Cores: calibrated, mapped, trained (L2ight)",
    "insitu": "Whole meshes: trained in situ",
    "noise": "The published sweep of noise in situ",
    "experiments": "Experiments of L2ight, by data set and network",
}
"""What presets are listed under; presets of other flows under the name of theirs."""
OPEN = ("l2ight", "insitu")
"""Groups that show their presets at first."""


class Card(QtWidgets.QPushButton):
    """A picture with a title and a line: one click opens the run."""

    def __init__(self, example: Example) -> None:
        super().__init__()
        self.example = example
        self.setAccessibleName(example.title)
        self.setAccessibleDescription(example.about)
        self.picture = QtWidgets.QLabel()
        self.picture.setFixedHeight(SIZE[1])
        self.picture.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        title = theme.mark(QtWidgets.QLabel(example.title), "part")
        about = theme.mark(QtWidgets.QLabel(example.about), "faint")
        about.setWordWrap(True)
        about.setAlignment(QtCore.Qt.AlignmentFlag.AlignTop)
        for label in (self.picture, title, about):  # the click is the card's
            label.setAttribute(QtCore.Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        filled(QtWidgets.QVBoxLayout(self), self.picture, title, (about, 1), margins=(10, 10, 10, 8), spacing=4)
        policy = QtWidgets.QSizePolicy.Policy.Preferred
        self.setSizePolicy(policy, policy)
        theme.mark(self, "card")
        self._draw()

    def sizeHint(self) -> QtCore.QSize:
        """As its labels need it, which a button does not ask."""
        width = max(self.width(), 260)
        return QtCore.QSize(260, self.layout().totalHeightForWidth(width))

    def minimumSizeHint(self) -> QtCore.QSize:
        """Narrower than its picture, which is cut then, and never lower than its words."""
        return self.sizeHint()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        """Words wrap anew."""
        super().resizeEvent(event)
        self._draw()
        self.updateGeometry()

    def changeEvent(self, event: QtCore.QEvent) -> None:
        """The picture follows the theme."""
        super().changeEvent(event)
        if event.type() == QtCore.QEvent.Type.PaletteChange and hasattr(self, "picture"):
            self._draw()

    def _draw(self) -> None:
        """The picture of the theme in force, as wide as the card lets it be."""
        drawn = QtGui.QPixmap(str(picture(self.example.name, theme.now().name)))
        if drawn.isNull():
            return
        ratio = self.devicePixelRatioF()
        width = min(SIZE[0], self.width() - 20)
        drawn = drawn.scaled(
            int(max(width, 100) * ratio), int(SIZE[1] * ratio),
            QtCore.Qt.AspectRatioMode.KeepAspectRatio, QtCore.Qt.TransformationMode.SmoothTransformation,
        )  # fmt: skip
        drawn.setDevicePixelRatio(ratio)
        self.picture.setPixmap(drawn)


class Start(QtWidgets.QWidget):
    """The start page. It only asks; the window does. `show_` carries the name of an example, `begin` and `edit` a
    preset, `open_` a run folder."""

    show_ = QtCore.Signal(str)
    begin = QtCore.Signal(str)
    edit = QtCore.Signal(str)
    open_ = QtCore.Signal(str)
    browse = QtCore.Signal()

    def __init__(self, runs: Path) -> None:
        super().__init__()
        self.runs = runs
        self._rows: list[Summary] = []
        self.cards = [Card(example) for example in EXAMPLES]
        for card in self.cards:
            card.clicked.connect(lambda *_, name=card.example.name: self.show_.emit(name))
        self.search = search_box("Search presets: digits, in situ, vgg8 …", "Search presets")
        self.search.textChanged.connect(self.sift)
        self.presets = _presets()
        self.recent = plain_list(HEADS, "Runs of before", (170, 80, 80, 110))
        self.none = theme.mark(QtWidgets.QLabel(f"No runs in {runs}/ yet: start a preset."), "faint")
        cards = QtWidgets.QHBoxLayout()
        cards.setSpacing(20)
        for card in self.cards:
            cards.addWidget(card, 1)
        filled(QtWidgets.QVBoxLayout(self), cards, (self._lists(), 1), margins=(28, 8, 28, 20), spacing=16)
        self.sift("")

    def _lists(self) -> QtWidgets.QLayout:
        """The presets and the runs of before, side by side."""
        begin = theme.mark(QtWidgets.QPushButton("Start"), "main")
        change = QtWidgets.QPushButton("Change settings first…")
        self._opened = theme.mark(QtWidgets.QPushButton("Open"), "main")
        other = QtWidgets.QPushButton("Open another folder…")
        begin.clicked.connect(lambda: self._preset(self.begin.emit))
        change.clicked.connect(lambda: self._preset(self.edit.emit))
        self._opened.clicked.connect(self._open)
        other.clicked.connect(self.browse)
        self.presets.itemActivated.connect(lambda *_: self._preset(self.begin.emit))
        self.recent.itemActivated.connect(lambda *_: self._open())
        columns = QtWidgets.QHBoxLayout()
        columns.setSpacing(20)
        for title, above, widget, buttons in (
            ("Start a new run", self.search, self.presets, (begin, change)),
            ("Open a run, or attach to one that is going on", self.none, self.recent, (self._opened, other)),
        ):
            card = theme.mark(QtWidgets.QFrame(), "card")
            head = theme.mark(QtWidgets.QLabel(title), "part")
            row = filled(QtWidgets.QHBoxLayout(), *buttons, 1)
            filled(QtWidgets.QVBoxLayout(card), head, above, (widget, 1), row, margins=(9, 9, 9, 9))
            columns.addWidget(card, 1)
        return columns

    def sift(self, sought: str) -> None:
        """Leave the presets that have every word that is sought, and mark the first of them."""
        first = None
        for item in _leaves(self.presets.invisibleRootItem()):
            name = item.data(0, ROLE)
            groups = " ".join(group.text(0) for group in _above(item))
            seen = has_words(f"{name} {item.text(1)} {PRESETS[name].source} {groups}", sought)
            item.setHidden(not seen)
            first = first or (item if seen else None)
        top = self.presets.invisibleRootItem()
        for number, group in enumerate(GROUPS):
            _fold(top.child(number), bool(sought.strip()) or group in OPEN)
        self.presets.setCurrentItem(first)

    def look(self, recent: list[Path]) -> None:
        """List the runs that are there now, keeping the one that is marked."""
        rows = summaries(self.runs, recent)
        self.none.setVisible(not rows)
        self._opened.setEnabled(bool(rows))
        if rows == self._rows:
            return
        item = self.recent.currentItem()
        marked = item.data(0, ROLE) if item else None
        self._rows = rows
        self.recent.clear()
        for row in rows:
            made = run_item(row)
            self.recent.addTopLevelItem(made)
            if marked in (None, str(row.folder)):
                self.recent.setCurrentItem(made)
                marked = str(row.folder)

    def _preset(self, ask: Callable[[str], None]) -> None:
        item = self.presets.currentItem()
        if item is not None and item.data(0, ROLE):
            ask(item.data(0, ROLE))

    def _open(self) -> None:
        item = self.recent.currentItem()
        if item is not None:
            self.open_.emit(item.data(0, ROLE))


# -- the tree of presets -----------------------------------------------------------------------------------------------


def _presets() -> QtWidgets.QTreeWidget:
    """All presets, in groups; experiments also by data set and model."""
    families = {"-".join(key): ", ".join(key[:2]) for key in experiments.names()}
    tree = plain_list(["preset", "what it runs"], "Presets", (205,))
    tree.setRootIsDecorated(True)
    groups = {group: _node(tree.invisibleRootItem(), title) for group, title in GROUPS.items()}
    nodes: dict[str, QtWidgets.QTreeWidgetItem] = {}
    for name, preset in PRESETS.items():
        family, flow = families.get(name), str(preset.values.get("flow", "l2ight"))
        if family is not None:
            parent = nodes.get(family) or nodes.setdefault(family, _node(groups["experiments"], family))
        else:
            group = "noise" if name.startswith("insitu-noise") else flow
            parent = groups.get(group) or groups.setdefault(group, _node(tree.invisibleRootItem(), group))
        item = QtWidgets.QTreeWidgetItem([name, preset.about])
        item.setToolTip(1, f"{preset.about}\nSettings from {preset.source}")
        item.setData(0, ROLE, name)
        parent.addChild(item)
    for node in groups.values():
        node.setFirstColumnSpanned(True)
    return tree


def _node(parent: QtWidgets.QTreeWidgetItem, title: str) -> QtWidgets.QTreeWidgetItem:
    node = QtWidgets.QTreeWidgetItem([title])
    parent.addChild(node)
    return node


def _leaves(item: QtWidgets.QTreeWidgetItem) -> Iterator[QtWidgets.QTreeWidgetItem]:
    """The presets below an item, in order."""
    for i in range(item.childCount()):
        child = item.child(i)
        if child.data(0, ROLE):
            yield child
        else:
            yield from _leaves(child)


def _above(item: QtWidgets.QTreeWidgetItem) -> Iterator[QtWidgets.QTreeWidgetItem]:
    """The groups that an item is in."""
    while (item := item.parent()) is not None:
        yield item


def _fold(group: QtWidgets.QTreeWidgetItem, unfolded: bool) -> None:
    """Show a group where any of its presets is seen, open or not."""
    group.setHidden(all(item.isHidden() for item in _leaves(group)))
    group.setExpanded(unfolded)
    for i in range(group.childCount()):
        if group.child(i).childCount():
            _fold(group.child(i), unfolded)
