"""The reader's side of a run that `l2sim.runs.live` serves (docs/formats.md): nothing here waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from l2sim.backend import Array
from l2sim.errors import RunError

VERSION = 1
ADDRESS = "live.json"


def zeromq() -> Any:
    """The module zmq, which only live runs need."""
    try:
        import zmq
    except ImportError:
        raise RunError("live runs need pyzmq, which is not installed; install it with `pip install pyzmq`") from None
    return zmq


class Reader:
    """A reader of the run that is served in the folder `root`. RunError where none is served."""

    def __init__(self, root: Path) -> None:
        self._zmq = zmq = zeromq()
        try:
            self.address = json.loads((root / ADDRESS).read_text())
            version = int(self.address["version"])
        except FileNotFoundError:
            raise RunError(f"the run in {root} is not served; start it with `l2sim run --live`") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError(f"{root / ADDRESS} cannot be read; the run is not served, or not to you") from None
        if version > VERSION:
            raise RunError(f"{root} is served by a newer l2sim (version {version}); install that version to watch it")
        self._context = zmq.Context()
        self._sockets = []
        for name, kind, most in (("stream", zmq.SUB, 100_000), ("frames", zmq.SUB, 4), ("control", zmq.DEALER, 1000)):
            socket = self._context.socket(kind)
            socket.linger, socket.rcvhwm = 0, most
            if kind == zmq.SUB:
                socket.subscribe(b"")
            socket.connect(self.address[name])
            self._sockets.append(socket)
        self._number = 0

    def order(self, command: str, **arguments: Any) -> int:
        """Send a command; `answers` has the answer under the number returned."""
        self._number += 1
        asked = {"id": self._number, "command": command, "token": self.address["token"], **arguments}
        with suppress(self._zmq.Again):
            self._sockets[2].send(json.dumps(asked).encode(), self._zmq.NOBLOCK)
        return self._number

    def messages(self) -> Iterator[tuple[str, dict[str, Any], bytes]]:
        """(topic, header, payload) of all that has come, what is not as it should be left out."""
        for socket in self._sockets[:2]:
            while socket.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
                parts = socket.recv_multipart(self._zmq.NOBLOCK)
                try:
                    topic, header, payload = parts
                    yield topic.decode(), json.loads(header), payload
                except ValueError:
                    continue

    def answers(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """(answer, payload) of all commands answered since."""
        socket = self._sockets[2]
        while socket.getsockopt(self._zmq.EVENTS) & self._zmq.POLLIN:
            parts = socket.recv_multipart(self._zmq.NOBLOCK)
            try:
                header, payload = parts
                yield json.loads(header), payload
            except ValueError:
                continue

    def close(self) -> None:
        """Leave."""
        for socket in self._sockets:
            socket.close()
        self._context.term()


def pictures(header: dict[str, Any], payload: bytes) -> dict[str, Array]:
    """The frames of a message of phase, block or field by series. ValueError where they do not fit."""
    found, at = {}, 0
    for row in header["frames"]:
        shape = tuple(int(size) for size in row["shape"])
        size = int(np.prod(shape))
        found[str(row["series"])] = np.frombuffer(payload, "<f4", size, at).reshape(shape)
        at += 4 * size
    return found
