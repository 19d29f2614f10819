"""What a served run and its readers say to each other, as JSON (docs/formats.md): the address, orders and headers."""

from __future__ import annotations

import msgspec

VERSION = 2
"""Of these messages."""
ADDRESS = "live.json"
"""The file of a run folder that says where the run is served."""


class Address(msgspec.Struct, kw_only=True):
    """What `live.json` says: who serves, the word that orders must know, and the three sockets."""

    version: int
    run: str
    process: int
    token: str
    stream: str
    frames: str
    control: str


# -- orders ------------------------------------------------------------------------------------------------------------


class Envelope(msgspec.Struct):
    """What every order says, whatever it is."""

    id: object
    token: object = ""
    command: object = None


class Snapshot(msgspec.Struct, tag_field="command", tag="snapshot"):
    """Bring the folder up to date, and say all about the run."""


class Get(msgspec.Struct, tag_field="command", tag="get", rename={"begin": "from", "end": "to"}):
    """Send the bytes `begin` to `end` of a log."""

    topic: str
    begin: int
    end: int


class Go(msgspec.Struct, tag_field="command", tag="run"):
    """Go on."""


class Pause(msgspec.Struct, tag_field="command", tag="pause"):
    """Wait before the next iteration."""


class StepOn(msgspec.Struct, tag_field="command", tag="step"):
    """Do `n` iterations, or epochs, then pause."""

    n: int = 1
    epoch: bool = False


class Stop(msgspec.Struct, tag_field="command", tag="stop"):
    """Take a checkpoint at the end of the epoch, and end the run."""


class Save(msgspec.Struct, tag_field="command", tag="checkpoint"):
    """Take a checkpoint at the end of the epoch."""


class Set(msgspec.Struct, tag_field="command", tag="set"):
    """Give a field of the job another value, if it has the one expected."""

    path: str
    value: object
    expected_old: object = msgspec.UNSET


class Want(msgspec.Struct, tag_field="command", tag="want"):
    """Send pictures of a topic: `rate` a second (None: as usual, 0: no more), of `layer` ("": all)."""

    topic: str
    layer: str = ""
    rate: float | None = None
    block: int = 0
    input: int = 0


Order = Snapshot | Get | Go | Pause | StepOn | Stop | Save | Set | Want
"""What a reader may order."""
COMMANDS = ("snapshot", "get", "run", "pause", "step", "stop", "checkpoint", "set", "want")
"""The words of `Order`."""


# -- headers -----------------------------------------------------------------------------------------------------------


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run is: `rate` in steps/s, `eta` and `longest` in s, `rss` in bytes, `at` how far the logs were sent."""

    stage: str
    epoch: int
    epochs: int
    step: int
    rate: float | None
    eta: float | None
    rss: int
    paused: bool
    longest: float
    pace: float
    at: dict[str, int]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the header of every message says: the number of the message, its time and the step of the run."""

    v: int
    seq: int
    t: float
    step: int


class Piece(Header, frozen=True, kw_only=True):
    """The header of a piece of a log, which begins at byte `at`."""

    at: int


class Beat(State, frozen=True, kw_only=True):
    """The header of a beat: what every header says, and where the run is."""

    v: int
    seq: int
    t: float


class Shape(msgspec.Struct, frozen=True):
    """A float32 array among those of a picture."""

    series: str
    shape: tuple[int, ...]


class Picture(Header, frozen=True, kw_only=True):
    """The header of frames: arrays that follow one another in the payload; of a field its `block` and `input`."""

    dtype: str
    frames: list[Shape]
    layer: str
    block: int | msgspec.UnsetType = msgspec.UNSET
    input: int | msgspec.UnsetType = msgspec.UNSET


HEADERS: dict[str, type[Piece | Beat | Picture]] = {
    "event": Piece, "scalar": Piece, "beat": Beat, "phase": Picture, "block": Picture, "field": Picture,
}  # fmt: skip
"""The header of each topic."""


# -- answers -----------------------------------------------------------------------------------------------------------


class Layer(msgspec.Struct, frozen=True):
    """The hardware of a photonic layer: p x q cores of k modes, or a whole mesh."""

    p: int
    q: int
    k: int
    whole: bool


class Parameter(msgspec.Struct, frozen=True):
    """A field of the job, and when it can be changed: live, next epoch or restart."""

    path: str
    value: object
    unit: str
    range: str
    meaning: str
    when: str


class Hello(msgspec.Struct, frozen=True):
    """What a run says of itself to who comes new."""

    version: int
    run: str
    name: str
    job: dict[str, object]
    layers: dict[str, Layer]
    parameters: list[Parameter]


class Answer(msgspec.Struct, frozen=True):
    """The head of an answer. `error` where it is not `ok`; `value` of a set, `at` of a get, the rest of a snapshot."""

    v: int
    id: object
    ok: bool
    applied_at_step: int
    error: str | msgspec.UnsetType = msgspec.UNSET
    value: object = msgspec.UNSET
    at: int | msgspec.UnsetType = msgspec.UNSET
    seq: int | msgspec.UnsetType = msgspec.UNSET
    lengths: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    state: State | msgspec.UnsetType = msgspec.UNSET
    hello: Hello | msgspec.UnsetType = msgspec.UNSET
