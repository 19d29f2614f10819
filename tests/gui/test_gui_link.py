"""The window's end of the stream: what is wished to be seen is asked for as soon as it can be, and given up again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from l2sim.gui.base import link as links
from l2sim.gui.base.link import PICTURES, Link

from l2sim.runs.live_messages import VERSION, Answer


class Reader:
    """A stream that keeps what was ordered. `say` is its answer to the snapshot."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.said: list[tuple[Answer, bytes]] = []

    def order(self, command: str, **arguments: Any) -> int:
        self.orders.append({"command": command, **arguments})
        return len(self.orders)

    def say(self) -> None:
        self.said = [(Answer(VERSION, 1, True, 0), b"")]

    def messages(self) -> list[object]:
        return []

    def answers(self) -> list[tuple[Answer, bytes]]:
        said, self.said = self.said, []
        return said

    def close(self) -> None:
        """Nothing to let go of."""

    def wanted(self) -> list[tuple[str, str, float | None]]:
        return [(o["topic"], o.get("layer", ""), o.get("rate")) for o in self.orders if o["command"] == "want"]


class Clock(SimpleNamespace):
    """Time that goes on when it is told to."""

    def monotonic(self) -> float:
        return float(self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(now=1000.0)
    monkeypatch.setattr(links, "time", clock)
    return clock


@pytest.fixture
def reader() -> Reader:
    return Reader()


def heard(link: Link) -> None:
    link.listen(None)  # type: ignore[arg-type]


@pytest.fixture
def attached(clock: Clock, reader: Reader) -> Link:
    """A link whose run has answered, a second ago."""
    link = Link(reader)  # type: ignore[arg-type]
    reader.say()
    heard(link)
    clock.now += 1
    return link


def test_a_layer_looked_at_before_the_run_has_answered_is_asked_for_then(clock: Clock, reader: Reader) -> None:
    link = Link(reader)  # type: ignore[arg-type]
    link.look("mesh1")
    heard(link)
    assert reader.wanted() == []
    reader.say()
    heard(link)
    clock.now += 1
    heard(link)
    assert reader.wanted() == [("block", "", None), ("phase", "mesh1", PICTURES["phase"])]


def test_a_layer_turned_to_too_soon_is_asked_for_later(clock: Clock, reader: Reader, attached: Link) -> None:
    attached.look("mesh1")
    attached.look("mesh2")
    assert reader.wanted()[-1][1] == "mesh1"
    clock.now += 1
    heard(attached)
    assert reader.wanted()[-1] == ("phase", "mesh2", PICTURES["phase"])


def test_light_is_given_up_when_nobody_looks_at_it_any_more(clock: Clock, reader: Reader, attached: Link) -> None:
    for _ in range(5):
        attached.look_inside("mesh1", 0)
        clock.now += 1
        heard(attached)
    assert [want for want in reader.wanted() if want[0] == "field"] == [("field", "mesh1", None)]
    clock.now += 2
    heard(attached)
    assert reader.wanted()[-1] == ("field", "", 0)
    attached.look_inside("mesh1", 0)
    assert reader.wanted()[-1] == ("field", "mesh1", None)


def test_who_leaves_wants_nothing_any_more(reader: Reader, attached: Link) -> None:
    attached.look("mesh1")
    attached.close()
    assert reader.wanted()[-2:] == [("block", "", 0), ("phase", "", 0)]
