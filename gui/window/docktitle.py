"""The title of a panel: its name, "what is this", and the buttons that float and close it."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtWidgets

from ..base import theme
from ..base.panel import Panel
from ..base.widgets import filled, paragraph, tool_button


class DockTitle(QtWidgets.QFrame):
    """Stands in for the title that Qt draws, which has no room for a button; a drag on it moves the panel as there."""

    def __init__(self, dock: QtWidgets.QDockWidget, panel: Panel) -> None:
        super().__init__(dock)
        name = QtWidgets.QLabel(panel.title)
        self.ask = tool_button("?", f"What is this? {panel.what}", f"What is {panel.title}?", lambda: explain(panel))
        float_ = tool_button(
            "❐", "Float, or back into the window", f"Float {panel.title}",
            lambda: dock.setFloating(not dock.isFloating()),
        )  # fmt: skip
        close = tool_button("✕", "Close (menu View brings it back)", f"Close {panel.title}", dock.close)
        for button in (self.ask, float_, close):
            button.setAutoRaise(True)
            button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)  # Shift+F1 and the menu View do the same by keys
        filled(QtWidgets.QHBoxLayout(self), (name, 1), self.ask, float_, close, margins=(8, 1, 2, 1), spacing=0)
        theme.mark(self, "title")


def explain(panel: Panel) -> None:
    """Say what a panel is, beside the window, which goes on."""
    box = QtWidgets.QDialog(panel.window())
    box.setWindowTitle(f"What is {panel.title}?")
    box.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
    said = f"More in docs/desktop.md, \u201c{panel.section}\u201d." if panel.section else ""
    more = theme.mark(QtWidgets.QLabel(said), "faint")
    close = QtWidgets.QPushButton("Close")
    close.clicked.connect(box.accept)
    row = filled(QtWidgets.QHBoxLayout(), (more, 1), close)
    text = paragraph("", panel.what, name="What this is")
    text.setMinimumWidth(420)
    filled(QtWidgets.QVBoxLayout(box), text, row, margins=(16, 14, 16, 12), spacing=12)
    box.show()
