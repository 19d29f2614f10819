"""Dark and light: the palette of widgets and the colours that panels draw with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pyqtgraph as pg
from pyqtgraph.Qt import QtGui, QtWidgets


class Theme(NamedTuple):
    """Colours as #rrggbb. `base` is what panels draw on; `good`, `warn` and `bad` only ever go with a word."""

    name: str
    window: str
    base: str
    raised: str
    line: str
    text: str
    faint: str
    accent: str
    good: str
    warn: str
    bad: str
    bands: tuple[str, str]
    curves: tuple[str, ...]


# The curves are those of Okabe and Ito (Color Universal Design, 2008), lightened or darkened for their ground.
DARK = Theme(
    "dark", "#1e2126", "#15171b", "#2a2e35", "#3b4048", "#e4e6ea", "#9aa2ad",
    "#4ea1e6", "#5cc796", "#f0b03f", "#ff6b5e",
    ("#191c21", "#20242b"),
    ("#56b4e9", "#e69f00", "#2fc79b", "#f0e442", "#e58cbc", "#8fa8ff", "#ff8a5c", "#c9cdd3"),
)  # fmt: skip
LIGHT = Theme(
    "light", "#f3f4f6", "#ffffff", "#e6e8ec", "#c6cad1", "#1b1e23", "#5f6772",
    "#0a6ebd", "#0b7a53", "#a86400", "#c22f1f",
    ("#ffffff", "#f1f3f6"),
    ("#0072b2", "#d55e00", "#007a5a", "#a88a00", "#b0568c", "#4456c7", "#8a4b08", "#40464f"),
)  # fmt: skip
THEMES = {theme.name: theme for theme in (DARK, LIGHT)}

_now = DARK


def now() -> Theme:
    """The theme in force."""
    return _now


@contextlib.contextmanager
def drawn_as(name: str) -> Iterator[None]:
    """Draw with another theme for a while; widgets keep the one in force. What panels drew they must draw anew."""
    global _now
    before, _now = _now, THEMES[name]
    try:
        yield
    finally:
        _now = before


def use(name: str) -> Theme:
    """Put a theme in force for the whole application; panels repaint when they are next refreshed."""
    global _now
    _now = theme = THEMES.get(name, DARK)
    application = QtWidgets.QApplication.instance()
    pg.setConfigOptions(background=theme.base, foreground=theme.text, antialias=False)
    sheet = _sheet(theme)
    if application.styleSheet() == sheet:  # a new sheet restyles every widget there is, which takes a while
        return theme
    if not application.styleSheet():
        application.setStyle("Fusion")
    role, palette = QtGui.QPalette.ColorRole, QtGui.QPalette()
    for where, colour in (
        (role.Window, theme.window), (role.WindowText, theme.text), (role.Base, theme.base),
        (role.AlternateBase, theme.bands[1]), (role.Text, theme.text), (role.Button, theme.raised),
        (role.ButtonText, theme.text), (role.BrightText, theme.bad),
        (role.Highlight, theme.accent), (role.HighlightedText, "#ffffff"), (role.Link, theme.accent),
        (role.ToolTipBase, theme.raised), (role.ToolTipText, theme.text), (role.PlaceholderText, theme.faint),
        (role.Mid, theme.line), (role.Dark, theme.line), (role.Light, theme.raised),
    ):  # fmt: skip
        palette.setColor(where, QtGui.QColor(colour))
    for where in (role.Text, role.ButtonText, role.WindowText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, where, QtGui.QColor(theme.faint))
    application.setPalette(palette)
    application.setStyleSheet(sheet)
    return theme


def _sheet(theme: Theme) -> str:
    return f"""
    QToolTip {{ color: {theme.text}; background: {theme.raised}; border: 1px solid {theme.line}; padding: 3px; }}
    QMainWindow::separator {{ background: {theme.line}; width: 3px; height: 3px; }}
    QMainWindow::separator:hover {{ background: {theme.accent}; }}
    QFrame[role="title"] {{ background: {theme.raised}; }}
    QGroupBox {{ border: 1px solid {theme.line}; border-radius: 4px; margin-top: 9px; padding-top: 6px; }}
    QGroupBox::title {{ subcontrol-origin: margin; left: 8px; padding: 0 4px; color: {theme.faint}; }}
    QLabel[role="faint"] {{ color: {theme.faint}; }}
    QLabel[role="bad"] {{ color: {theme.bad}; }}
    QLabel[role="badge"] {{ color: {theme.base}; background: {theme.warn}; font-weight: bold; padding: 2px 10px; }}
    QLabel[role="heading"] {{ font-size: 18pt; font-weight: 300; }}
    QLabel[role="headline"] {{ font-size: 15pt; color: {theme.text}; }}
    QLabel[role="part"] {{ font-weight: bold; }}
    QFrame[role="card"] {{ background: {theme.base}; border: 1px solid {theme.line}; border-radius: 6px; }}
    QFrame[role="card"] QLineEdit {{ border: 1px solid {theme.line}; border-radius: 3px; padding: 3px; }}
    QPushButton[role="card"]
        {{ background: {theme.base}; border: 1px solid {theme.line}; border-radius: 6px; text-align: left; }}
    QPushButton[role="card"]:hover, QPushButton[role="card"]:focus {{ border: 1px solid {theme.accent}; }}
    QFrame[role="said"] {{ background: {theme.raised}; border-left: 4px solid {theme.accent}; }}
    QFrame[role="said-bad"] {{ background: {theme.raised}; border-left: 4px solid {theme.bad}; }}
    QPushButton:focus, QToolButton:focus, QComboBox:focus, QLineEdit:focus, QAbstractItemView:focus
        {{ border: 1px solid {theme.accent}; }}
    QHeaderView::section
        {{ background: {theme.raised}; border: none; border-right: 1px solid {theme.line}; padding: 3px 6px; }}
    QPushButton[role="main"] {{ background: {theme.accent}; color: #ffffff; font-weight: bold; padding: 5px 14px; }}
    """


def mark(widget: QtWidgets.QWidget, role: str) -> QtWidgets.QWidget:
    """Give a widget one of the looks of the style sheet and return it."""
    widget.setProperty("role", role)
    if widget.style():
        widget.style().unpolish(widget)
        widget.style().polish(widget)
    return widget
