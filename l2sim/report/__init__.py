"""How is a run told: its page, figures, bill and savings.

`rebuild` makes the page of a run's folder again and `picture` its first figure; `of_run` bills what it cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.report.bill import Bill as Bill
    from l2sim.report.bill import of_run as of_run
    from l2sim.report.page import picture as picture
    from l2sim.report.page import rebuild as rebuild
    from l2sim.report.page import render as render

__getattr__, __dir__ = lazy(__name__, {
    "Bill": "bill", "of_run": "bill", "picture": "page", "rebuild": "page", "render": "page",
    "bill": "bill", "figures": "figures", "html": "html", "page": "page", "savings": "savings",
})  # fmt: skip
