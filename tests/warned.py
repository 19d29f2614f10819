"""The warnings of other packages, counted: one line a package and kind. Those of our own modules are errors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Generator[None, None, None]:
    """In place of pytest's own list, which shows every place."""
    reports = terminalreporter.stats.pop("warnings", [])
    yield
    counts: Counter[str] = Counter()
    for report in reports:
        place, _, kind, message = _parts(report.message)
        package = re.search(r"site-packages/([\w-]+)", place)
        counts[f"{package[1] if package else place}: {kind}: {message}"] += 1
    if counts:
        terminalreporter.section("warnings of other packages")
        for line, count in counts.most_common():
            terminalreporter.line(f"{count:5} x {line}"[:200])


def _parts(text: str) -> tuple[str, str, str, str]:
    """The file, line, category and first line of a warning as pytest tells it."""
    found = re.match(r"(.*?):(\d+): (\w+): ([^\n]*)", text)
    return (found[1], found[2], found[3], found[4]) if found else ("?", "", "Warning", text.partition("\n")[0])
