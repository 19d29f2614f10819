"""`l2sim run --live`: a run as readers see it while it goes on, and what they may ask of it (docs/formats.md).

Three ZeroMQ sockets, on ipc only: `stream` and `frames` publish, `control` answers. Between two iterations, and only
there, the simulator sends what somebody asked for and obeys; it never waits for a reader, and what a slow reader cannot
take is dropped. Scalars and events are the very bytes of the logs with their place in them, so that a reader who missed
some reads the file. Headers are JSON, the rest raw numbers: nothing that is received is ever executed.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET

from l2sim.errors import L2simError, RunError
from l2sim.flow import oracle
from l2sim.flow.control import KINDS, Control, StopAsked, apply
from l2sim.flow.session import Session
from l2sim.job import job as jobs
from l2sim.job.grids import grids
from l2sim.job.imperfections import effective
from l2sim.runs import live_messages as messages
from l2sim.runs.live_messages import ADDRESS, VERSION, Answer, Order, Set, State, Want
from l2sim.runs.live_reader import zeromq
from l2sim.store.door import parsed
from l2sim.store.events import Changed, Checkpoint, Epoch, Event, StageStarted, Step
from l2sim.store.logs import plain
from l2sim.store.manifest import Manifest

if TYPE_CHECKING:
    from zmq import Socket

LOOK = 0.05
FLUSH = 0.1
BEAT = 1.0
NEWCOMERS = 0.2
"""Seconds between looks at the commands while mini-batches follow one another (twice as long while nobody
listens), pieces of the logs, beats, and looks for new readers."""
PATH_BYTES = 100
"""The longest path of a Unix socket, some bytes less than the kernel's limit."""
PIECE = 1 << 24
"""Bytes of a log that one `get` answers with at most."""
LIMITS = {"phase": 60.0, "block": 5.0, "field": 10.0}
"""The most frames a second by topic."""
SHARE = 0.015
"""The largest share of its time that the simulator spends on one sight, however many readers want it; the first picture
is not counted, since it may load what is compiled."""
RATES = {"phase": 10.0, "block": 2.0, "field": 10.0}
"""Frames a second where nobody says."""
LOGS = {"scalar": "scalars.bin", "event": "events.jsonl"}
"""The file of each log that is sent."""


class Sight(NamedTuple):
    """What can be wanted: a topic of a `layer` ("" for all), of a field its `block` and `input`."""

    topic: str
    layer: str
    block: int = 0
    input: int = 0


@dataclass
class Due:
    """When a sight is sent next, and the step it was sent last."""

    at: float = 0.0
    sent: int = -1

    def follow(self, now: float, rate: float, took: float) -> None:
        """Wait for the next of `rate` a second after one that was sent `now` and took so many seconds, and for the
        simulator's `SHARE`; from when it was due, since steps come late, but not to make up for more than one."""
        self.at = max(self.at, now - 1.0 / rate) + max(1.0 / rate, took / SHARE)


@dataclass
class Progress:
    """Where a run is, and how fast."""

    stage: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    began: float = 0.0
    done: int = 0
    longest: float = 0.0
    marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=6))

    def rate(self) -> float | None:
        """Steps a second of late."""
        if len(self.marks) < 2 or self.marks[-1][0] <= self.marks[0][0]:
            return None
        return (self.marks[-1][1] - self.marks[0][1]) / (self.marks[-1][0] - self.marks[0][0])

    def left(self, now: float) -> float | None:
        """Seconds until the stage's last epoch, if epochs go on as they did."""
        if self.epoch <= self.done:
            return None
        return (self.epochs - self.epoch) * (now - self.began) / (self.epoch - self.done)


class Live(Control):
    """Serves the run in the folder `out`; `pace` is the most steps a second, 0 for no limit."""

    def __init__(
        self, out: Path, manifest: Manifest, changes: Iterable[dict[str, object]] = (), pace: float = 0.0
    ) -> None:
        super().__init__(changes)
        self._zmq, self._out, self._manifest = zeromq(), out, manifest
        self._progress = Progress()
        self._pace, self._next = pace, 0.0
        self._left: int | None = None
        self._unit = "step"
        self._due = self._beat = self._flushed = self._last = self._asked = 0.0
        self._seq = 0
        self._places = dict.fromkeys(LOGS, 0)
        self._topics: set[str] = set()
        self._wants: dict[tuple[bytes, str], tuple[Sight, float]] = {}
        """What each reader wants to see of a topic, and how often a second."""
        self._sights: dict[Sight, Due] = {}
        """What is wanted by any: it is sent to all at once, as often as who wants it most."""
        self._saving: list[tuple[bytes, object]] = []
        self._stopping = False
        self._sockets: dict[str, Socket[bytes]] = {}
        self._room: Path | None = None
        self._context = self._zmq.Context()
        try:
            self._bind()
        except BaseException:  # a context that is collected before its sockets waits for them for ever
            self.close()
            raise

    # -- the sockets ---------------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        module = self._zmq
        place = self._out.resolve()
        if len(os.fsencode(place / "live-control")) > PATH_BYTES:
            own = os.environ.get("XDG_RUNTIME_DIR", "")  # which may name what is not there: after su, in a container
            place = self._room = Path(tempfile.mkdtemp(prefix="l2sim-", dir=own if os.path.isdir(own) else None))
        before = os.umask(0o077)
        try:
            kinds = ("stream", module.XPUB, 100_000), ("frames", module.XPUB, 4), ("control", module.ROUTER, 1000)
            for name, kind, most in kinds:
                socket = self._sockets[name] = self._context.socket(kind)
                socket.sndhwm, socket.linger = most, 0
                socket.bind(f"ipc://{place / f'live-{name}'}")
        except module.ZMQError as error:
            raise RunError(f"cannot serve the run in {place}: {error}; run without --live") from None
        finally:
            os.umask(before)
        self._sockets["control"].linger = 100  # the answer to `stop` is the last word
        self._token = secrets.token_hex(16)
        self._stream, self._frames, self._control = self._sockets.values()
        self._prefixes: dict[Socket[bytes], set[bytes]] = {self._stream: set(), self._frames: set()}
        places = {name: f"ipc://{place / f'live-{name}'}" for name in self._sockets}
        address = messages.Address(
            version=VERSION, run=self._manifest.id, process=os.getpid(), token=self._token, **places
        )  # fmt: skip
        part = self._out / f"{ADDRESS}.part"
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(msgspec.to_builtins(address), file)
        part.replace(self._out / ADDRESS)  # readers see it whole

    def close(self) -> None:
        """Stop serving."""
        (self._out / ADDRESS).unlink(missing_ok=True)
        for socket in self._sockets.values():
            socket.close()
        self._context.term()
        for name in ("stream", "frames", "control"):
            (self._out / f"live-{name}").unlink(missing_ok=True)
        if self._room:
            shutil.rmtree(self._room, ignore_errors=True)

    # -- between two iterations ----------------------------------------------------------------------------------------

    def between(self, event: Event, session: Session) -> Iterator[Changed]:
        """Called after `event`: sends what is due, and makes the changes that readers and an earlier part of the run
        asked for, which it yields. May raise `StopAsked`."""
        now, kind = time.monotonic(), type(event)
        if self.changes:
            yield from self._again(event, session)
        if kind is Step and now < self._due and self._left is None and not self._pace:
            return
        self._note(event, session, now)
        self._publish(session, now, kind is not Step)
        due = now + (LOOK if self._topics else 2 * LOOK)
        self._due = min([due, *(sight.at for wanted, sight in self._sights.items() if wanted.topic in self._topics)])
        if kind is Checkpoint:
            self._saved(event.step)  # type: ignore[union-attr]
        if kind not in KINDS:
            return
        yield from self._obey(event, session)
        while (wait := self._waiting()) > 0:
            self._control.poll(int(1000 * min(wait, 0.05)) + 1)
            self._publish(session, time.monotonic(), False)
            yield from self._obey(event, session)

    def _note(self, event: Event, session: Session, now: float) -> None:
        """Where the run is, and whether it may go on."""
        at = self._progress
        iterated = session.step > at.step and isinstance(event, Step | Epoch)
        if self._last:
            at.longest = max(now - self._last, 0.5 * at.longest)
        at.step = session.step
        if isinstance(event, StageStarted):
            at.stage, at.epoch, at.epochs, at.done, at.began = event.stage, event.done, event.epochs, event.done, now
        elif isinstance(event, Epoch):
            at.epoch, at.epochs = event.epoch, event.epochs
        if self._left and (iterated if self._unit == "step" else isinstance(event, Epoch)):
            self._left -= 1
            if self._left == 0:
                self._beat = 0.0  # say at once that it is paused
        if iterated and self._pace:
            self._next = max(now, self._next + 1.0 / self._pace)

    def _waiting(self) -> float:
        """Seconds to wait before the next iteration; 0: go on."""
        if self._stopping:
            return 0.0
        if self._left == 0:
            return BEAT
        return self._next - time.monotonic() if self._pace else 0.0

    # -- what is sent --------------------------------------------------------------------------------------------------

    def _send(
        self, socket: Socket[bytes], topic: str, header: dict[str, object], payload: bytes | memoryview = b""
    ) -> None:
        self._seq += 1
        head = {"v": VERSION, "seq": self._seq, "t": time.time(), "step": self._progress.step} | header
        with suppress(self._zmq.Again):  # nobody waits for a reader
            socket.send_multipart((topic.encode(), json.dumps(plain(head)).encode(), payload), self._zmq.NOBLOCK)

    def _publish(self, session: Session, now: float, news: bool) -> None:
        """Everything that is due and that somebody asked for."""
        self._last = now
        if now - self._asked >= NEWCOMERS:
            self._asked = now
            self._subscriptions()
        if now - self._beat >= BEAT:
            self._beat = now
            self._progress.marks.append((now, self._progress.step))
            if "beat" in self._topics:
                self._send(self._stream, "beat", msgspec.to_builtins(self._state(now)))
        if not self._topics:
            return
        if now - self._flushed >= FLUSH or news:
            self._flushed = now
            self._logs()
        for wanted, due in self._sights.items():
            if now >= due.at and wanted.topic in self._topics and due.sent != session.step:
                rate = max(rate for sight, rate in self._wants.values() if sight == wanted)
                # Of this thread alone: on a crowded machine others may run in between, and pictures would stay out.
                begin, first, due.sent = time.thread_time(), due.sent < 0, session.step
                self._picture(wanted, session)
                due.follow(now, rate, 0.0 if first else time.thread_time() - begin)

    def _subscriptions(self) -> None:
        """Who wants what: the first subscription to a prefix is told, and the end of the last one."""
        for socket, topics in ((self._stream, (*LOGS, "beat")), (self._frames, tuple(RATES))):
            prefixes = self._prefixes[socket]
            while socket.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
                word = socket.recv(self._zmq.NOBLOCK)
                (prefixes.add if word[:1] == b"\1" else prefixes.discard)(word[1:])
                for topic in topics:
                    self._follow(topic, any(topic.encode().startswith(prefix) for prefix in prefixes))

    def _follow(self, topic: str, wanted: bool) -> None:
        """A topic's first reader came (what follows begins now), or its last one went, with all wishes."""
        if wanted and topic not in self._topics and topic in LOGS:
            self.flush()
            self._places[topic] = (self._out / LOGS[topic]).stat().st_size
        if not wanted:
            self._wants = {key: want for key, want in self._wants.items() if key[1] != topic}
            self._survey()
        (self._topics.add if wanted else self._topics.discard)(topic)

    def _logs(self) -> None:
        """What the logs have gained, to whoever reads them; series are told before their values."""
        if not self._topics & LOGS.keys():
            return
        self.flush()
        for topic in ("event", "scalar"):
            if topic not in self._topics:
                continue
            content = piece(self._out / LOGS[topic], self._places[topic], PIECE)
            if topic == "event":
                content = content[: content.rfind(b"\n") + 1]
            if content:
                self._send(self._stream, topic, {"at": self._places[topic]}, content)
                self._places[topic] += len(content)

    def _survey(self) -> None:
        """Know what is wanted by any; what was wanted before goes on in its rhythm."""
        wanted = dict.fromkeys(sight for sight, _ in self._wants.values())
        self._sights = {sight: self._sights.get(sight, Due()) for sight in wanted}

    def _picture(self, wanted: Sight, session: Session) -> None:
        """Whole frames, one after the other, of what a reader wants to see now."""
        topic, layer, *_ = wanted
        about = {"block": wanted.block, "input": wanted.input} if topic == "field" else {}
        if topic == "field":
            frames = oracle.powers(session, layer, **about)
        else:
            look = session.told if topic == "phase" else session.merits
            names = [layer] if layer else list(grids(session.job))
            frames = {series: a for name in names for series, a in look(name).items()}
        if frames:
            rows = [msgspec.to_builtins(messages.Shape(name, a.shape)) for name, a in frames.items()]
            payload = np.concatenate([a.reshape(-1) for a in frames.values()]).astype("<f4", copy=False).data
            self._send(self._frames, topic, {"dtype": "<f4", "frames": rows, "layer": layer, **about}, payload)

    def _state(self, now: float) -> State:
        at = self._progress
        return State(
            stage=at.stage, epoch=at.epoch, epochs=at.epochs, step=at.step, rate=at.rate(), eta=at.left(now),
            rss=resident_bytes(), paused=self._left == 0, longest=at.longest, pace=self._pace, at=self._places,
        )  # fmt: skip

    # -- what is obeyed ------------------------------------------------------------------------------------------------

    def _obey(self, event: Event, session: Session) -> Iterator[Changed]:
        while self._control.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
            sender, *parts = self._control.recv_multipart(self._zmq.NOBLOCK)
            number: object = None
            try:
                envelope = parsed(parts[0], messages.Envelope)
                number = envelope.id
                if not hmac.compare_digest(str(envelope.token).encode(), self._token.encode()):
                    raise RunError("the token is wrong; read it from live.json in the run folder")
                if envelope.command not in messages.COMMANDS:
                    words = ", ".join(messages.COMMANDS)
                    raise RunError(f"there is no command {envelope.command!r}; use one of {words}")
                order: Order = msgspec.convert(json.loads(parts[0]), Order)
                if isinstance(order, Set):
                    yield (changed := self._set(order, event, session))
                    self._answer(sender, number, value=changed.value)
                else:
                    self._do(sender, number, order, session)
            except L2simError as error:
                self._answer(sender, number, ok=False, error=str(error))
            except (ValueError, KeyError, IndexError):
                self._answer(sender, number, ok=False, error="this request is not as docs/formats.md says")

    def _answer(self, sender: bytes, number: object, payload: bytes = b"", **fields: object) -> None:
        """Answer the order with that number; `fields` are those of `Answer` that differ from a plain yes."""
        answer = msgspec.structs.replace(Answer(VERSION, number, True, self._progress.step), **fields)
        head = json.dumps(plain(msgspec.to_builtins(answer))).encode()
        with suppress(self._zmq.ZMQError):  # the reader may have gone
            self._control.send_multipart((sender, head, payload), self._zmq.NOBLOCK)

    def _set(self, order: Set, event: Event, session: Session) -> Changed:
        path = order.path
        if order.expected_old is not UNSET:
            now = effective(session.job, path) if path in {f.path for f in jobs.describe(session.job)} else None
            now = list(now) if isinstance(now, tuple) else now
            if now is not None and now != order.expected_old:
                raise RunError(f"{path} is {now} by now, not {order.expected_old}; look again and repeat it")
        return apply(session, event, path, order.value)

    def _do(self, sender: bytes, number: object, order: Order, session: Session) -> None:
        """Do what is ordered, and answer; where a checkpoint has to be taken, the answer comes after it."""
        match order:
            case messages.Snapshot():
                self._subscriptions()  # who asks has subscribed: what is published from here on is for them too
                state, hello = self._state(time.monotonic()), self._hello(session)
                self._answer(sender, number, seq=self._seq, lengths=self.flush()._asdict(), state=state, hello=hello)
                return
            case messages.Get():
                self.flush()
                content = piece(self._out / LOGS[order.topic], order.begin, min(order.end - order.begin, PIECE))
                self._answer(sender, number, content, at=order.begin)
                return
            case messages.Save() | messages.Stop():
                self._stopping |= isinstance(order, messages.Stop)
                session.save = True
                self._saving.append((sender, number))
                return
            case Want():
                self._wish(sender, order, session)
            case messages.StepOn():
                self._left, self._beat = max(1, order.n), 0.0
                self._unit = "epoch" if order.epoch else "step"
            case messages.Go() | messages.Pause():
                self._left, self._beat = 0 if isinstance(order, messages.Pause) else None, 0.0
        self._answer(sender, number)

    def _hello(self, session: Session) -> messages.Hello:
        layers = {name: messages.Layer(grid.p, grid.q, grid.k, grid.whole) for name, grid in grids(session.job).items()}
        parameters = [
            messages.Parameter(f.path, plain(effective(session.job, f.path)), f.unit, f.range, f.meaning, f.when)
            for f in jobs.describe(session.job)
        ]
        job = jobs.to_dict(session.job)
        return messages.Hello(VERSION, self._manifest.id, self._manifest.name, job, layers, parameters)

    def _wish(self, sender: bytes, order: Want, session: Session) -> None:
        """A reader's new wish replaces its last one for the topic."""
        topic, layer = order.topic, order.layer
        if topic not in RATES:
            raise RunError(f"{topic!r} is not a topic of pictures; use one of {', '.join(RATES)}")
        known = grids(session.job)
        if layer and layer not in known:
            raise RunError(f"there is no layer {layer!r}; use one of {', '.join(known)}")
        rate = RATES[topic] if order.rate is None else order.rate
        grid = known[layer or next(iter(known))]
        if not (0 <= order.block < grid.p * grid.q and order.input >= 0):
            raise RunError(f"layer {layer} has blocks 0 to {grid.p * grid.q - 1}, and inputs count from 0")
        self._wants.pop((sender, topic), None)
        if rate > 0:
            inside = (order.block, order.input) if topic == "field" else ()
            self._wants[sender, topic] = Sight(topic, layer, *inside), min(rate, LIMITS[topic])
        self._survey()

    def _saved(self, step: int) -> None:
        """A checkpoint was written: tell those who waited for it."""
        waiting, self._saving = self._saving, []
        for sender, number in waiting:
            self._answer(sender, number, applied_at_step=step)
        if self._stopping:
            raise StopAsked("a reader's wish")


def piece(path: Path, begin: int, most: int) -> bytes:
    """Up to `most` bytes of a file from `begin`."""
    with open(path, "rb") as file:
        file.seek(max(begin, 0))
        return file.read(max(most, 0))


def resident_bytes() -> int:
    """Memory of this process, bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
