"""How does a run look on a page: text, figures, bill and savings?

`rebuild` makes the page of a run's folder again and `picture` its first figure; `of_run` bills what it cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.report import bill, figures, html, page, savings
    from l2sim.report.bill import Bill, of_run
    from l2sim.report.page import picture, rebuild, render

__all__ = [
    "Bill", "bill", "figures", "html", "of_run", "page", "picture", "rebuild", "render", "savings",
]  # fmt: skip

__getattr__, __dir__ = lazy(__name__, {
    "Bill": "bill", "of_run": "bill", "picture": "page", "rebuild": "page", "render": "page", "bill": "bill",
    "figures": "figures", "html": "html", "page": "page", "savings": "savings",
})  # fmt: skip
