"""The window's end of a run's stream: it attaches without a gap, remembers recent frames, and never waits. No Qt."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

from msgspec import UNSET

from l2sim import naming
from l2sim.backend import Array
from l2sim.errors import RunError
from l2sim.runs.live_messages import VERSION, Answer, Beat, Piece, State
from l2sim.runs.live_reader import Reader, pictures
from l2sim.store.follow import Frame, Replay
from l2sim.store.manifest import Manifest

STALE = 5.0
"""Seconds without a word, besides the longest iterations, after which a run that lives is called stale."""
RECENT = 512
RECENT_BYTES = 1 << 24
RECENT_GRADIENTS = 32
"""How many live frames of a series are remembered, and how many bytes of them; of gradients, which no history draws."""
PICTURES = {"phase": 60.0}
"""Live frames a second that are asked for, where as many as usual are too few: twice what is
painted, so that one of them has come whenever the window looks."""
UNSEEN = 2.0
"""Seconds after which light that nobody asked for any more is no longer sent."""
LOOK_EVERY = 0.25
"""Seconds between changes of what is looked at."""


class Light(NamedTuple):
    """Optical power in a mesh at a step: (2 C + 1, N) by name, before each column, inside its arms, behind the last."""

    step: int
    power: dict[str, Array]


class Link:
    """Attached to the process of a run. The order is: subscribe, snapshot, read the folder as far as the snapshot
    says; then the stream's pieces of the logs fit behind what was read, or what they repeat is left out."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pending: dict[int, int] = {}
        self._acks: dict[int, Answer] = {}
        self._recent: dict[str, deque[Frame]] = {}
        self._light: tuple[str, int, Light] | None = None
        self._wishes: dict[str, tuple[str, int]] = {"block": ("", 0)}
        self._looks: dict[str, tuple[str, int]] = {}
        """What is wished to be seen by topic, layer and port, and what the run was asked for."""
        self._looked = self._inside = 0.0
        self._gap = True
        self.attached = False
        self.beat: State | None = None
        self.newest = 0
        """The step of the newest frame."""
        self.heard = time.monotonic()
        self._snapshot = reader.order("snapshot")

    @classmethod
    def to(cls, folder: Path, manifest: Manifest) -> Link | None:
        """A link to the run's process; None where it is not served."""
        try:
            reader = Reader(folder)
        except RunError:
            return None
        link = cls(reader)
        if link.serves(manifest):
            return link
        link.close()
        return None

    def serves(self, manifest: Manifest) -> bool:
        """Whether this is the stream of the process that `manifest` tells of."""
        address = self._reader.address
        return (address.process, address.run) == (manifest.process, manifest.id)

    def behind(self) -> bool:
        """Whether the folder has what the stream did not bring; asked once a poll."""
        behind, self._gap = self._gap or not self.attached, False
        return behind

    def stale(self) -> bool:
        """Whether the run has said nothing for longer than its iterations explain."""
        return time.monotonic() - self.heard > STALE + 3.0 * (self.beat.longest if self.beat else 0.0)

    def listen(self, disk: Replay) -> set[str]:
        """Take in what has come."""
        changed: set[str] = set()
        for topic, header, payload in self._reader.messages():
            self.heard = time.monotonic()
            if isinstance(header, Piece):
                news = disk.feed(topic, header.at, payload) if self.attached else None
                self._gap |= news is None
                changed |= news or set()
            elif isinstance(header, Beat):
                self.beat = header
                changed.add("state")
            elif topic in ("phase", "block"):
                changed.add("frames" if topic == "phase" else "blocks")
                self.newest = max(self.newest, header.step)
                for name, values in pictures(header, payload).items():
                    self._remember(name, Frame(header.step, values.copy()))  # a view would hold all of it
            elif header.input is not UNSET:
                power = pictures(header, payload)
                self._light = header.layer, header.input, Light(header.step, power)
                changed.add("frames")
        for answer, _ in self._reader.answers():
            self.heard = time.monotonic()
            number = answer.id
            if number == self._snapshot:
                self.attached = self._gap = True
                self.beat = self.beat or answer.state or None
                self._looks = {}
                changed.add("state")
            elif isinstance(number, int) and number in self._pending:
                self._acks[self._pending.pop(number)] = answer
                changed.add("state")
        self._ask()
        return changed

    def _remember(self, name: str, frame: Frame) -> None:
        its = naming.apart(name)
        many = RECENT_GRADIENTS if its.kind == "gradient" and its.part != "block" else RECENT
        most = max(2, min(many, RECENT_BYTES // max(1, frame.values.nbytes)))
        recent = self._recent.setdefault(name, deque(maxlen=most))
        if recent and recent[-1].step == frame.step:
            recent.pop()
        recent.append(frame)

    # -- frames --------------------------------------------------------------------------------------------------------

    def series(self) -> list[str]:
        """Names of the series of frames that came."""
        return list(self._recent)

    def frame(self, name: str, step: int | None) -> Frame | None:
        """The newest recent frame at or before `step`."""
        for frame in reversed(self._recent.get(name, ())):
            if step is None or frame.step <= step:
                return frame
        return None

    def steps(self, name: str) -> list[int]:
        """Steps of the recent frames."""
        return [frame.step for frame in self._recent.get(name, ())]

    def look(self, layer: str) -> None:
        """Ask for live phases of this layer."""
        self._want("phase", layer, 0)

    def look_inside(self, layer: str, port: int) -> None:
        """Ask for the light in a whole mesh; to be asked again for as long as it is looked at."""
        self._inside = time.monotonic()
        self._want("field", layer, port)

    def light(self, layer: str, port: int) -> Light | None:
        """The light that came last, if it is that of this mesh and sample."""
        return self._light[2] if self._light and self._light[:2] == (layer, port) else None

    def _want(self, topic: str, layer: str, port: int) -> None:
        self._wishes[topic] = layer, port
        self._ask()

    def _ask(self) -> None:
        """Ask the run for what is wished, as soon as it can be asked and not at every turn of a wheel."""
        now = time.monotonic()
        if now - self._inside > UNSEEN and "field" in self._wishes:
            del self._wishes["field"]
            if self._looks.pop("field", None) is not None:
                self._reader.order("want", topic="field", rate=0)
        for topic, (layer, port) in self._wishes.items() if self.attached else ():
            if self._looks.get(topic) != (layer, port) and (topic == "block" or now - self._looked > LOOK_EVERY):
                self._looks[topic], self._looked = (layer, port), now
                self._reader.order("want", topic=topic, layer=layer, input=port, rate=PICTURES.get(topic))

    # -- orders --------------------------------------------------------------------------------------------------------

    def order(self, number: int, command: str, arguments: dict[str, object]) -> None:
        """Send an order; its answer comes under `number`."""
        self._pending[self._reader.order(command, **arguments)] = number

    def answered(self) -> dict[int, Answer]:
        """The answers that came since."""
        answers, self._acks = self._acks, {}
        return answers

    def close(self) -> dict[int, Answer]:
        """Leave; what was not answered never will be."""
        for topic in self._looks:
            self._reader.order("want", topic=topic, rate=0)
        self._reader.close()
        lost = Answer(VERSION, None, False, 0, "the run ended before it answered")
        return self._acks | dict.fromkeys(self._pending.values(), lost)
