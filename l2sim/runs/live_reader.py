"""The reader's side of a run that `l2sim.runs.live` serves (docs/formats.md): nothing here waits."""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from l2sim import naming
from l2sim.backend import Array
from l2sim.errors import RunError
from l2sim.runs.live_messages import ADDRESS, HEADERS, VERSION, Address, Answer, Beat, Picture, Piece
from l2sim.store.door import Newer, parsed, versioned

if TYPE_CHECKING:
    from zmq import Context, Socket


def zeromq() -> ModuleType:
    """The module zmq, which only live runs need. RunError where it is not installed."""
    try:
        import zmq  # late: an optional package
    except ImportError:
        raise RunError("live runs need pyzmq, which is not installed; install it with `pip install pyzmq`") from None
    return zmq


LINGER = 100
"""Milliseconds that the last orders may take."""


class Reader:
    """A reader of the run that is served in the folder `root`. RunError where none is served."""

    def __init__(self, root: Path) -> None:
        self._zmq = module = zeromq()
        try:
            self.address = versioned((root / ADDRESS).read_bytes(), Address, VERSION)
        except FileNotFoundError:
            raise RunError(f"the run in {root} is not served; start it with `l2sim run --live`") from None
        except (OSError, ValueError):
            raise RunError(f"{root / ADDRESS} cannot be read; the run is not served, or not to you") from None
        except Newer as error:
            line = f"{root} is served by a newer l2sim (version {error.number}); install that version to watch it"
            raise RunError(line) from None
        context = module.Context()
        self._sockets: list[Socket[bytes]] = []
        # Who is forgotten unclosed leaves too: a context that is collected before its sockets waits for them for ever.
        self._leave = weakref.finalize(self, _leave, context, self._sockets)
        kinds = ("stream", module.SUB, 100_000), ("frames", module.SUB, 4), ("control", module.DEALER, 1000)
        for name, kind, most in kinds:
            socket = context.socket(kind)
            socket.linger, socket.rcvhwm = 0, most
            if kind == module.SUB:
                socket.subscribe(b"")
            socket.connect(getattr(self.address, name))
            self._sockets.append(socket)
        self._number = 0

    def order(self, command: str, **arguments: object) -> int:
        """Send an order (`l2sim.runs.live_messages`); `answers` has the answer under the number returned."""
        self._number += 1
        asked = {"id": self._number, "command": command, "token": self.address.token, **arguments}
        with suppress(self._zmq.Again):
            self._sockets[2].send(json.dumps(asked).encode(), self._zmq.NOBLOCK)
        return self._number

    def messages(self) -> Iterator[tuple[str, Piece | Beat | Picture, bytes]]:
        """(topic, header, payload) of all that has come, what is not as it should be left out."""
        for socket in self._sockets[:2]:
            while socket.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
                parts = socket.recv_multipart(self._zmq.NOBLOCK)
                with suppress(ValueError, KeyError):
                    topic, header, payload = parts
                    yield topic.decode(), parsed(header, HEADERS[topic.decode()]), payload

    def answers(self) -> Iterator[tuple[Answer, bytes]]:
        """(answer, payload) of all commands answered since."""
        socket = self._sockets[2]
        while socket.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
            parts = socket.recv_multipart(self._zmq.NOBLOCK)
            with suppress(ValueError):
                header, payload = parts
                yield parsed(header, Answer), payload

    def close(self) -> None:
        """Leave, as soon as the last orders are sent or cannot be."""
        self._leave()


def _leave(context: Context[Socket[bytes]], sockets: list[Socket[bytes]]) -> None:
    *others, control = sockets
    for socket in others:
        socket.close()
    control.close(linger=LINGER)
    context.term()


def pictures(header: Picture, payload: bytes) -> dict[str, Array]:
    """The frames of a message of phase, block or field by series. ValueError where they do not fit."""
    frames, at = {}, 0
    for row in header.frames:
        size = math.prod(row.shape)
        frames[naming.of_frames_1(row.series)] = np.frombuffer(payload, "<f4", size, at).reshape(row.shape)
        at += 4 * size
    return frames
