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
from typing import Any

import numpy as np

from l2sim.errors import L2simError, RunError
from l2sim.flow import oracle
from l2sim.flow.control import KINDS, Control, StopAsked, apply
from l2sim.flow.session import Session
from l2sim.job import job as jobs
from l2sim.job.grids import grids
from l2sim.job.imperfections import effective
from l2sim.runs.live_reader import ADDRESS, VERSION, zeromq
from l2sim.store.events import Changed, Checkpoint, Epoch, Event, StageStarted, Step
from l2sim.store.logs import plain

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
LIMITS = {"phase": 30.0, "block": 5.0, "field": 10.0}
"""The most frames a second by topic."""
SHARE = 0.004
"""The largest share of its time that the simulator spends on what one reader wants of one topic."""
RATES = {"phase": 10.0, "block": 2.0, "field": 10.0}
LOGS = {"scalar": "scalars.bin", "event": "events.jsonl"}


@dataclass
class Want:
    """What one reader wants of a topic: `rate` a second, of `layer` ("" for all), `about` the rest of its wish."""

    rate: float
    layer: str
    about: dict[str, Any]
    due: float = 0.0
    sent: int = -1


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
        self, out: Path, manifest: dict[str, Any], changes: Iterable[dict[str, Any]] = (), pace: float = 0.0
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
        self._wants: dict[tuple[bytes, str], Want] = {}
        self._saving: list[tuple[bytes, Any]] = []
        self._stopping = False
        self._bind()

    # -- the sockets ---------------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        zmq = self._zmq
        self._context = zmq.Context()
        self._room: Path | None = None
        place = self._out.resolve()
        if len(os.fsencode(place / "live-control")) > PATH_BYTES:
            own = os.environ.get("XDG_RUNTIME_DIR", "")  # which may name what is not there: after su, in a container
            place = self._room = Path(tempfile.mkdtemp(prefix="l2sim-", dir=own if os.path.isdir(own) else None))
        self._sockets = {}
        before = os.umask(0o077)
        try:
            kinds = ("stream", zmq.XPUB, 100_000), ("frames", zmq.XPUB, 4), ("control", zmq.ROUTER, 1000)
            for name, kind, most in kinds:
                socket = self._sockets[name] = self._context.socket(kind)
                socket.sndhwm, socket.linger = most, 0
                socket.bind(f"ipc://{place / f'live-{name}'}")
        except zmq.ZMQError as error:
            self.close()
            raise RunError(f"cannot serve the run in {place}: {error}; run without --live") from None
        finally:
            os.umask(before)
        self._sockets["control"].linger = 100  # the answer to `stop` is the last word
        self._token = secrets.token_hex(16)
        self._stream, self._frames, self._control = self._sockets.values()
        self._prefixes: dict[Any, set[bytes]] = {self._stream: set(), self._frames: set()}
        address = {
            "version": VERSION,
            "run": self._manifest["id"],
            "process": os.getpid(),
            "token": self._token,
            **{name: f"ipc://{place / f'live-{name}'}" for name in self._sockets},
        }
        part = self._out / f"{ADDRESS}.part"
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(address, file)
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
        """See `Control.between`."""
        now, kind = time.monotonic(), type(event)
        if self.changes:
            yield from self._again(event, session)
        if kind is Step and now < self._due and self._left is None and not self._pace:
            return
        self._note(event, session, now)
        self._due = now + (LOOK if self._topics else 2 * LOOK)
        self._publish(session, now, kind is not Step)
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
        it = self._progress
        iterated = session.step > it.step and isinstance(event, Step | Epoch)
        if self._last:
            it.longest = max(now - self._last, 0.5 * it.longest)
        it.step = session.step
        if isinstance(event, StageStarted):
            it.stage, it.epoch, it.epochs, it.done, it.began = event.stage, event.done, event.epochs, event.done, now
        elif isinstance(event, Epoch):
            it.epoch, it.epochs = event.epoch, event.epochs
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

    def _send(self, socket: Any, topic: str, header: dict[str, Any], payload: Any = b"") -> None:
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
                self._send(self._stream, "beat", self._state(now))
        if not self._topics:
            return
        if now - self._flushed >= FLUSH or news:
            self._flushed = now
            self._logs()
        for (_, topic), want in self._wants.items():
            if now >= want.due and topic in self._topics and want.sent != session.step:
                # Of this thread alone: on a crowded machine others may run in between, and pictures would stay out.
                begin, want.sent = time.thread_time(), session.step
                self._picture(topic, want, session)
                want.due = now + max(1.0 / want.rate, (time.thread_time() - begin) / SHARE)

    def _subscriptions(self) -> None:
        """Who wants what: the first subscription to a prefix is told, and the end of the last one."""
        for socket, topics in ((self._stream, (*LOGS, "beat")), (self._frames, tuple(RATES))):
            prefixes = self._prefixes[socket]
            while socket.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
                told = socket.recv(self._zmq.NOBLOCK)
                (prefixes.add if told[:1] == b"\1" else prefixes.discard)(told[1:])
                for topic in topics:
                    self._follow(topic, any(topic.encode().startswith(prefix) for prefix in prefixes))

    def _follow(self, topic: str, wanted: bool) -> None:
        """A topic's first reader came (what follows begins now), or its last one went, with all wishes."""
        if wanted and topic not in self._topics and topic in LOGS:
            self.flush()
            self._places[topic] = (self._out / LOGS[topic]).stat().st_size
        if not wanted:
            self._wants = {key: want for key, want in self._wants.items() if key[1] != topic}
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

    def _picture(self, topic: str, want: Want, session: Session) -> None:
        """Whole frames, one after the other, of what a reader wants to see now."""
        if topic == "field":
            frames = oracle.powers(session, want.layer, **want.about)
        else:
            told = session.told if topic == "phase" else session.merits
            names = [want.layer] if want.layer else list(grids(session.job))
            frames = {series: a for name in names for series, a in told(name).items()}
        if frames:
            rows = [{"series": name, "shape": list(a.shape)} for name, a in frames.items()]
            payload = b"".join(np.ascontiguousarray(a, "<f4").tobytes() for a in frames.values())
            about = {"layer": want.layer, **want.about} if topic == "field" else {"layer": want.layer}
            self._send(self._frames, topic, {"dtype": "<f4", "frames": rows, **about}, payload)

    def _state(self, now: float) -> dict[str, Any]:
        it = self._progress
        return {
            "stage": it.stage, "epoch": it.epoch, "epochs": it.epochs, "step": it.step, "rate": it.rate(),
            "eta": it.left(now), "rss": resident_bytes(), "paused": self._left == 0, "longest": it.longest,
            "pace": self._pace, "at": self._places,
        }  # fmt: skip

    # -- what is obeyed ------------------------------------------------------------------------------------------------

    def _obey(self, event: Event, session: Session) -> Iterator[Changed]:
        while self._control.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
            sender, *parts = self._control.recv_multipart(self._zmq.NOBLOCK)
            number = None
            try:
                asked = json.loads(parts[0])
                number = asked["id"]
                if not hmac.compare_digest(str(asked.get("token", "")).encode(), self._token.encode()):
                    raise RunError("the token is wrong; read it from live.json in the run folder")
                command = asked.get("command")
                if command not in COMMANDS:
                    raise RunError(f"there is no command {command!r}; use one of {', '.join(COMMANDS)}")
                if command == "set":
                    changed = self._set(asked, event, session)
                    yield changed
                    self._answer(sender, number, {"value": changed.value})
                else:
                    getattr(self, f"_do_{command}")(sender, number, asked, session)
            except L2simError as error:
                self._answer(sender, number, {"ok": False, "error": str(error)})
            except (ValueError, TypeError, KeyError, IndexError, RecursionError):
                self._answer(sender, number, {"ok": False, "error": "this request is not as docs/formats.md says"})

    def _answer(self, sender: bytes, number: Any, content: dict[str, Any], payload: bytes = b"") -> None:
        head = {"v": VERSION, "id": number, "ok": True, "applied_at_step": self._progress.step} | content
        with suppress(self._zmq.ZMQError):  # the reader may have gone
            self._control.send_multipart((sender, json.dumps(plain(head)).encode(), payload), self._zmq.NOBLOCK)

    def _set(self, asked: dict[str, Any], event: Event, session: Session) -> Changed:
        path, value = str(asked["path"]), asked["value"]
        if "expected_old" in asked:
            now = effective(session.job, path) if path in {f.path for f in jobs.describe(session.job)} else None
            now = list(now) if isinstance(now, tuple) else now
            if now is not None and now != asked["expected_old"]:
                raise RunError(f"{path} is {now} by now, not {asked['expected_old']}; look again and repeat it")
        return apply(session, event, path, value)

    def _do_snapshot(self, sender: bytes, number: Any, asked: dict[str, Any], session: Session) -> None:
        """What to read from the folder before what is published counts, and all about the run."""
        self._subscriptions()  # who asks has subscribed: what is published from here on is for them too
        hello = {
            "version": VERSION, "run": self._manifest["id"], "name": self._manifest["name"],
            "job": jobs.to_dict(session.job),
            "layers": {
                name: {"p": g.p, "q": g.q, "k": g.k, "whole": g.whole} for name, g in grids(session.job).items()
            },
            "parameters": [
                {"path": f.path, "value": plain(effective(session.job, f.path)), "unit": f.unit, "range": f.range,
                 "meaning": f.meaning, "when": f.when}
                for f in jobs.describe(session.job)
            ],
        }  # fmt: skip
        found = {"seq": self._seq, "lengths": self.flush()._asdict(), "state": self._state(time.monotonic())}
        self._answer(sender, number, {**found, "hello": hello})

    def _do_get(self, sender: bytes, number: Any, asked: dict[str, Any], session: Session) -> None:
        begin, end = int(asked["from"]), int(asked["to"])
        self.flush()
        content = piece(self._out / LOGS[asked["topic"]], begin, min(end - begin, PIECE))
        self._answer(sender, number, {"at": begin}, content)

    def _do_run(self, sender: bytes, number: Any, asked: dict[str, Any], session: Session) -> None:
        self._left, self._beat = None, 0.0
        self._answer(sender, number, {})

    def _do_pause(self, sender: bytes, number: Any, asked: dict[str, Any], session: Session) -> None:
        self._left, self._beat = 0, 0.0
        self._answer(sender, number, {})

    def _do_step(self, sender: bytes, number: Any, asked: dict[str, Any], session: Session) -> None:
        self._left = max(1, int(asked.get("n", 1)))
        self._unit = "epoch" if asked.get("epoch") else "step"
        self._beat = 0.0
        self._answer(sender, number, {})

    def _do_checkpoint(self, sender: bytes, number: Any, asked: dict[str, Any], session: Session) -> None:
        session.save = True
        self._saving.append((sender, number))

    def _do_stop(self, sender: bytes, number: Any, asked: dict[str, Any], session: Session) -> None:
        self._stopping = session.save = True
        self._saving.append((sender, number))

    def _do_want(self, sender: bytes, number: Any, asked: dict[str, Any], session: Session) -> None:
        topic, layer = str(asked["topic"]), str(asked.get("layer", ""))
        if topic not in RATES:
            raise RunError(f"{topic!r} is not a topic of pictures; use one of {', '.join(RATES)}")
        known = grids(session.job)
        if layer and layer not in known:
            raise RunError(f"there is no layer {layer!r}; use one of {', '.join(known)}")
        rate = float(asked.get("rate", RATES[topic]))
        if rate <= 0:
            self._wants.pop((sender, topic), None)
        else:
            about = {"block": int(asked.get("block", 0)), "input": int(asked.get("input", 0))}
            it = known[layer or next(iter(known))]
            if not (0 <= about["block"] < it.p * it.q and about["input"] >= 0):
                raise RunError(f"layer {layer} has blocks 0 to {it.p * it.q - 1}, and inputs count from 0")
            self._wants[sender, topic] = Want(min(rate, LIMITS[topic]), layer, about if topic == "field" else {})
        self._answer(sender, number, {})

    def _saved(self, step: int) -> None:
        """A checkpoint was written: tell those who waited for it."""
        waiting, self._saving = self._saving, []
        for sender, number in waiting:
            self._answer(sender, number, {"applied_at_step": step})
        if self._stopping:
            raise StopAsked("a reader's wish")


COMMANDS = ("snapshot", "get", "run", "pause", "step", "stop", "checkpoint", "set", "want")


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
