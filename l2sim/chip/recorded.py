"""A recorded chip: what real or simulated hardware answered, and the replay of it.

`Recorder` stands in front of any `Hardware` and writes down what every probe read. `Replay` answers the same queries
with those readings and knows nothing else, so that a run can be repeated without the chip. A query is what the chip was
commanded at the time, how long it had been waited for, the operation and the light sent. Equal queries (repeated noisy
readings) are answered in order. Neither has fused operations: algorithms take the public path. `MeshRecorder` and
`MeshReplay` are the same for a `MeshHardware`.

File: one .npz without pickle. `digests` (R, 16) of the queries in order, `vectors` (R,) B of each, `mesh`, `readouts`,
`format`; of cores `shape` and `answers`, all readings (p, q, k, B) flattened one after the other; of a mesh `couplers`,
`kinds` (R,) of the answers (an index into KINDS), `fields` and `powers`, all readings flattened.
"""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Generic, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from l2sim import files
from l2sim.backend import Array
from l2sim.chip.meter import Meter, Settling
from l2sim.chip.protocol import (
    PARTS,
    PHASES,
    Hardware,
    MeshHardware,
    Taps,
    check,
    light_of_cores,
    light_of_mesh,
    mask_of_cores,
)
from l2sim.errors import ChipError
from l2sim.given import real
from l2sim.mesh.mesh import Mesh

__all__ = ["MeshRecorder", "MeshReplay", "Recorder", "Replay"]

DAMAGED = (OSError, EOFError, ValueError, LookupError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
ORDER = (
    "format", "shape", "mesh", "couplers", "readouts", "digests", "kinds", "vectors", "answers", "fields", "powers",
)  # fmt: skip
"""The arrays of both kinds of file, in their order."""
UNFIT = "its parts do not fit together"
KINDS = ("field", "power", "taps")

Chip = TypeVar("Chip", Hardware, MeshHardware)
Answer = tuple[Array, ...]


# ---------------------------------------------------------------------------------------------- what both share


class Query(NamedTuple):
    """A probe and what was read: the digest of the query, an index into KINDS, B vectors of light, the readings."""

    digest: bytes
    kind: int
    vectors: int
    answer: Answer


def digest(operation: str, waited: float, arrays: Iterable[Array], sent: Array, mask: bytes = b"") -> bytes:
    """Of what is commanded (`arrays`), how long it was waited, and one probe."""
    later = f" after {waited!r} s" if waited else ""
    made = blake2b(f"{operation} {sent.shape}{later}".encode(), digest_size=16)
    for array in (*arrays, sent.real, *((sent.imag,) if np.iscomplexobj(sent) else ())):
        made.update((np.asarray(array, np.float64) + 0.0).tobytes())  # adding zero makes -0.0 equal to 0.0
    made.update(mask)
    return made.digest()


def write(path: str | Path, **arrays: Array) -> None:
    """Write arrays to `path` (.npz), whole or not at all. ChipError where it cannot be written."""
    with files.replacing(Path(path), refuse=ChipError) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


class _Recorder(ABC, Generic[Chip]):
    """Passes everything on to `hardware`, a chip of `kind`, and writes the answers down."""

    kind: type

    def __init__(self, hardware: Chip) -> None:
        check(hardware, self.kind)
        self.mesh, self.readouts = hardware.mesh, hardware.readouts
        self._hardware: Chip = hardware
        self._waited = 0.0
        self._queries: list[Query] = []

    @property
    def meter(self) -> Meter:
        """The meter of the hardware behind."""
        return self._hardware.meter

    def wait(self, seconds: float) -> None:
        """Let chip time pass, as the Protocol says."""
        self._hardware.wait(seconds)
        self._waited += seconds

    def _note(self, query: bytes, kind: str, *answer: Array) -> None:
        vectors = answer[0].shape[-1]
        self._queries.append(Query(query, KINDS.index(kind), vectors, tuple(array.copy() for array in answer)))

    def save(self, path: str | Path) -> None:
        """Write the recording to `path` (.npz), whole or not at all. ChipError where it cannot be written."""
        arrays = self._arrays() | {
            "readouts": np.array(self.readouts),
            "digests": np.frombuffer(b"".join(query.digest for query in self._queries), np.uint8).reshape(-1, 16),
            "vectors": np.array([query.vectors for query in self._queries], np.int64),
        }
        write(path, **{name: arrays[name] for name in ORDER if name in arrays})

    @abstractmethod
    def _arrays(self) -> dict[str, Array]:
        """What else is in the file: its format, what the chip is, and the answers."""


def _flat(arrays: Iterable[Array]) -> Array:
    return np.concatenate([array.ravel() for array in arrays] or [np.empty(0)])


class _Replay(ABC):
    """Answers from a recording; made by `load`. An unknown query is a ChipError."""

    recorder: type

    def __init__(
        self, mesh: Mesh, readouts: tuple[str, ...], answers: Iterable[tuple[bytes, Answer]], meter: Meter | None
    ) -> None:
        self.mesh, self.readouts = mesh, readouts
        self.meter = Meter() if meter is None else meter
        self._waited, self._settling = 0.0, Settling()
        self._answers: defaultdict[bytes, deque[Answer]] = defaultdict(deque)
        for query, answer in answers:
            self._answers[query].append(answer)

    @classmethod
    def load(cls, path: str | Path, *, meter: Meter | None = None) -> Self:
        """Read what the recorder saved. ChipError for a file that is missing, damaged, or something else."""
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return cls._of(file, meter)
        except FileNotFoundError as error:
            wanted = f"a file written by {cls.recorder.__name__}.save"
            raise ChipError(f"recording {path} does not exist; give {wanted}") from error
        except (*DAMAGED, ChipError) as error:
            reason = str(error).partition("\n")[0]
            what = cls._format().rpartition(" ")[0]
            raise ChipError(f"{path} is not a whole {what} ({reason}); record it again") from error

    @classmethod
    def _format(cls) -> str:
        return str(vars(cls.recorder)["FORMAT"])

    @classmethod
    @abstractmethod
    def _of(cls, file: Mapping[str, Array], meter: Meter | None) -> Self:
        """The replay of the arrays of a file. Any error of `DAMAGED`, or ChipError, where they are not right."""

    @classmethod
    def _check_format(cls, file: Mapping[str, Array]) -> None:
        if str(file["format"]) != cls._format():
            raise ValueError("it has another format")

    def wait(self, seconds: float) -> None:
        """Let chip time pass. What is asked afterwards is answered with what was read then."""
        self.meter.wait(seconds)
        self._waited += seconds

    def _count(self, changed: int) -> None:
        if changed:
            self.meter.count(writes=changed)
            self._settling.wrote()

    def _recall(self, query: bytes, operation: str, cores: int, vectors: int) -> Answer:
        if query not in self._answers:
            raise ChipError(f"the recording holds no such {operation} probe; repeat the run exactly as it was recorded")
        if not self._answers[query]:
            raise ChipError(f"this {operation} probe was recorded fewer times than it is asked; repeat the run exactly")
        self.meter.count(core_calls=cores * vectors, vectors=vectors, settled=self._settling.waits())
        return tuple(array.copy() for array in self._answers[query].popleft())


# ------------------------------------------------------------------------------------------------------- tensor cores


class _Settings:
    """What a grid of cores is commanded, starting as a fresh chip does: zero phases, signs and sigma one."""

    def __init__(self, shape: tuple[int, int], mesh: Mesh, dtype: DTypeLike = np.float64) -> None:
        self.shape, self.mesh, self.dtype = shape, mesh, dtype
        ends = (*shape, mesh.modes)
        self.arrays: dict[str, Array] = {"sigma": np.ones(ends)}
        for part in PARTS:
            self.arrays |= {f"phases.{part}": np.zeros((*shape, mesh.count)), f"signs.{part}": np.ones(ends)}

    def phases(self, u: ArrayLike | None, v: ArrayLike | None) -> int:
        """Command the phases of meshes; returns how many changed."""
        changed, wanted = 0, (*self.shape, *self.mesh.shape)
        for part, phases in (("u", u), ("v", v)):
            if phases is not None:
                given = real(phases, f"phases of {part}")
                if given.shape != wanted:
                    raise ChipError(f"phases of {part} have shape {given.shape}; this chip takes {wanted}")
                changed += self.set(f"phases.{part}", self.mesh.gather(given))
        return changed

    def signs(self, u: ArrayLike | None, v: ArrayLike | None) -> int:
        """Command the signs of meshes; returns how many changed."""
        return sum(self.set(f"signs.{part}", a) for part, a in (("u", u), ("v", v)) if a is not None)

    def set(self, name: str, values: ArrayLike) -> int:
        """Command `name`; returns how many values changed, in the precision of the chip."""
        before, now = self.arrays[name], np.array(real(values, name), np.float64)
        if now.shape != before.shape:
            raise ChipError(f"{name} have shape {now.shape}; this chip takes {before.shape}")
        self.arrays[name] = now
        return int(np.count_nonzero(now.astype(self.dtype) != before.astype(self.dtype)))

    def query(self, operation: str, sent: Array, cores: ArrayLike | None, waited: float) -> bytes:
        """Digest of the settings and of one probe."""
        spread = np.broadcast_to(sent, (*self.shape, *sent.shape[-2:]))
        some = mask_of_cores(cores, self.shape)
        mask = np.ones(self.shape, bool) if some is None else some
        return digest(operation, waited, self.arrays.values(), spread, mask.tobytes())


class Recorder(_Recorder[Hardware]):
    """A `Hardware` that passes everything on to `hardware` and writes the answers down. Start it on a fresh chip."""

    FORMAT = "l2sim recording 1"
    kind = Hardware

    def __init__(self, hardware: Hardware) -> None:
        super().__init__(hardware)
        self.shape = hardware.shape
        self._settings = _Settings(self.shape, self.mesh)

    def set_phases(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Command nominal phases, rad, (p, q, C, k - 1)."""
        self._hardware.set_phases(u=u, v=v)
        self._settings.phases(u, v)

    def set_signs(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Set the pi shifters at the output ports of a mesh: +1 or -1, (p, q, k)."""
        self._hardware.set_signs(u=u, v=v)
        self._settings.signs(u, v)

    def set_sigma(self, sigma: Array) -> None:
        """Command the attenuators and the gain behind each core, (p, q, k)."""
        self._hardware.set_sigma(sigma)
        self._settings.set("sigma", sigma)

    def forward(self, x: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send x (p, q, k, B) into the inputs of every core and read its outputs."""
        answer = self._hardware.forward(x, cores=cores, readout=readout)
        self._note(self._query(f"forward {readout}", x, cores), "field", answer)
        return answer

    def backward(self, y: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send y (p, q, k, B) into the outputs of every core and read its inputs."""
        answer = self._hardware.backward(y, cores=cores, readout=readout)
        self._note(self._query(f"backward {readout}", y, cores), "field", answer)
        return answer

    def _query(self, operation: str, x: Array, cores: Array | None) -> bytes:
        sent = light_of_cores(x, self.shape, self.mesh.modes, complex_cores=True)
        return self._settings.query(operation, sent, cores, self._waited)

    def _arrays(self) -> dict[str, Array]:
        mesh = self.mesh
        return {
            "format": np.array(self.FORMAT),
            "shape": np.array(self.shape),
            "mesh": np.array([mesh.kind, str(mesh.modes), str(int(mesh.inner_signs)), *["phi"] * mesh.phi]),
            "answers": _flat(query.answer[0] for query in self._queries),
        }


class Replay(_Replay):
    """A `Hardware` that answers from a recording; made by `Replay.load`. An unknown query is a ChipError."""

    recorder = Recorder

    def __init__(
        self,
        shape: tuple[int, int],
        mesh: Mesh,
        readouts: tuple[str, ...],
        answers: list[tuple[bytes, Answer]],
        *,
        meter: Meter | None = None,
    ) -> None:
        super().__init__(mesh, readouts, answers, meter)
        self.shape = shape
        self._settings = _Settings(shape, mesh, answers[0][1][0].dtype if answers else np.float64)

    @classmethod
    def _of(cls, file: Mapping[str, Array], meter: Meter | None) -> Self:
        cls._check_format(file)
        p, q = map(int, file["shape"])
        kind, modes, inner, *phi = map(str, file["mesh"])
        mesh = Mesh(kind, int(modes), bool(int(inner)), phi=bool(phi))
        digests, flat, sizes = file["digests"], file["answers"], file["vectors"] * (p * q * mesh.modes)
        if len(digests) != len(sizes) or flat.size != sizes.sum():
            raise ValueError(UNFIT)
        pieces = [a.reshape(p, q, mesh.modes, -1) for a in np.split(flat, np.cumsum(sizes)[:-1])]
        answers: list[tuple[bytes, Answer]] = [(row.tobytes(), (piece,)) for row, piece in zip(digests, pieces)]
        return cls((p, q), mesh, tuple(map(str, file["readouts"])), answers, meter=meter)

    def set_phases(self, *, u: ArrayLike | None = None, v: ArrayLike | None = None) -> None:
        """Command nominal phases, rad, (p, q, C, k - 1)."""
        self._count(self._settings.phases(u, v))

    def set_signs(self, *, u: ArrayLike | None = None, v: ArrayLike | None = None) -> None:
        """Set the pi shifters at the output ports of a mesh: +1 or -1, (p, q, k)."""
        self._count(self._settings.signs(u, v))

    def set_sigma(self, sigma: ArrayLike) -> None:
        """Command the attenuators and the gain behind each core, (p, q, k)."""
        self._count(self._settings.set("sigma", sigma))

    def forward(self, x: ArrayLike, *, cores: ArrayLike | None = None, readout: str = "quadrature") -> Array:
        """What was read when x (p, q, k, B) was sent into the inputs of every core."""
        return self._probe("forward", x, cores, readout)

    def backward(self, y: ArrayLike, *, cores: ArrayLike | None = None, readout: str = "quadrature") -> Array:
        """What was read when y (p, q, k, B) was sent into the outputs of every core."""
        return self._probe("backward", y, cores, readout)

    def _probe(self, operation: str, x: ArrayLike, cores: ArrayLike | None, readout: str) -> Array:
        sent = light_of_cores(x, self.shape, self.mesh.modes, complex_cores=True)
        query = self._settings.query(f"{operation} {readout}", sent, cores, self._waited)
        probed = self.shape[0] * self.shape[1] if cores is None else int(np.count_nonzero(cores))
        (answer,) = self._recall(query, operation, probed, sent.shape[-1])
        # One array holds all answers: where some are fields, all came back complex.
        return answer if readout == "field" else answer.real.copy()


# ------------------------------------------------------------------------------------------------------ a whole mesh


class MeshRecorder(_Recorder[MeshHardware]):
    """A `MeshHardware` that passes everything on to `hardware` and writes the answers down."""

    FORMAT = "l2sim mesh recording 1"
    kind = MeshHardware

    @property
    def commanded(self) -> dict[str, Array]:
        """Copies of the phases last commanded, by name."""
        return self._hardware.commanded

    def set_phases(self, theta: Array | None = None, phi: Array | None = None, screen: Array | None = None) -> None:
        """Command nominal phases, rad: theta, phi (n,) in travel order, screen (N,). None leaves them."""
        self._hardware.set_phases(theta, phi, screen)

    def forward(self, x: Array, readout: str = "field") -> Array:
        """Send x (N, B) into the inputs and read the outputs."""
        answer = self._hardware.forward(x, readout)
        self._note(self._query(f"forward {readout}", x), readout, answer)
        return answer

    def backward(self, y: Array, readout: str = "field") -> Array:
        """Send y (N, B) into the outputs and read the inputs."""
        answer = self._hardware.backward(y, readout)
        self._note(self._query(f"backward {readout}", y), readout, answer)
        return answer

    def taps(self, x: Array, back: bool = False) -> tuple[Array, Taps]:
        """The field at the far end, and the power at every phase shifter."""
        field, taps = self._hardware.taps(x, back)
        self._note(self._query(f"taps {back}", x), "taps", field, *taps)
        return field, taps

    def _query(self, operation: str, x: Array) -> bytes:
        return mesh_digest(self._hardware.commanded, operation, light_of_mesh(x, self.mesh.modes), self._waited)

    def _arrays(self) -> dict[str, Array]:
        mesh, queries = self.mesh, self._queries
        power = KINDS.index("power")
        return {
            "format": np.array(self.FORMAT),
            "mesh": np.array([mesh.kind, str(mesh.modes), str(int(mesh.inner_signs)), mesh.node]),
            "couplers": np.array(mesh.couplers, np.int64).reshape(-1, 3),
            "kinds": np.array([query.kind for query in queries], np.int64),
            "fields": _flat(query.answer[0] for query in queries if query.kind != power),
            "powers": _flat(a for query in queries for a in query.answer[query.kind != power :]),
        }


class MeshReplay(_Replay):
    """A `MeshHardware` that answers from a recording; made by `MeshReplay.load`. An unknown query is a ChipError."""

    recorder = MeshRecorder

    def __init__(
        self,
        mesh: Mesh,
        readouts: tuple[str, ...],
        answers: list[tuple[bytes, Answer]],
        meter: Meter | None = None,
    ) -> None:
        super().__init__(mesh, readouts, answers, meter)
        self._dtype = answers[0][1][0].real.dtype if answers else np.dtype(np.float64)
        sizes = (mesh.count, mesh.count, mesh.modes)
        self._phases = {part: np.zeros(size, self._dtype) for part, size in zip(PHASES, sizes)}

    @classmethod
    def _of(cls, file: Mapping[str, Array], meter: Meter | None) -> Self:
        cls._check_format(file)
        kind, modes, inner, node = map(str, file["mesh"])
        couplers = tuple((int(column), int(top), int(bottom)) for column, top, bottom in file["couplers"])
        mesh = Mesh(kind, int(modes), bool(int(inner)), node, couplers)
        return cls(mesh, tuple(map(str, file["readouts"])), _mesh_answers(mesh, file), meter)

    @property
    def commanded(self) -> dict[str, Array]:
        """Copies of the phases last commanded, by name."""
        return {part: values.copy() for part, values in self._phases.items()}

    def set_phases(
        self, theta: ArrayLike | None = None, phi: ArrayLike | None = None, screen: ArrayLike | None = None
    ) -> None:
        """Command nominal phases, rad: theta, phi (n,) in travel order, screen (N,). None leaves them."""
        changed = 0
        for part, values in zip(PHASES, (theta, phi, screen)):
            if values is not None:
                before, now = self._phases[part], np.array(real(values, part), self._dtype)
                if now.shape != before.shape:
                    raise ChipError(f"{part} has shape {now.shape}; this mesh takes {before.shape} in travel order")
                changed += int(np.count_nonzero(now != before))
                self._phases[part] = now
        self._count(changed)

    def forward(self, x: ArrayLike, readout: str = "field") -> Array:
        """What was read when x (N, B) was sent into the inputs."""
        return self._probe(f"forward {readout}", x)[0]

    def backward(self, y: ArrayLike, readout: str = "field") -> Array:
        """What was read when y (N, B) was sent into the outputs."""
        return self._probe(f"backward {readout}", y)[0]

    def taps(self, x: ArrayLike, back: bool = False) -> tuple[Array, Taps]:
        """The field that was read at the far end, and the power at every phase shifter."""
        field, *taps = self._probe(f"taps {back}", x)
        self.meter.count(tap_readings=sum(power.size for power in taps))
        return field, Taps(*taps)

    def _probe(self, operation: str, x: ArrayLike) -> Answer:
        sent = light_of_mesh(x, self.mesh.modes)
        query = mesh_digest(self._phases, operation, sent, self._waited)
        return self._recall(query, operation, 1, sent.shape[1])


def mesh_digest(phases: dict[str, Array], operation: str, sent: Array, waited: float) -> bytes:
    """Digest of a probe of a mesh. Its light is complex, whatever numbers it was given as."""
    return digest(operation, waited, phases.values(), np.asarray(sent, np.complex128))


def _mesh_answers(mesh: Mesh, file: Mapping[str, Array]) -> list[tuple[bytes, Answer]]:
    """Queries and their answers: a field, powers, or a field and powers at theta, phi and the screen."""
    sizes: dict[str, tuple[tuple[str, int], ...]] = {
        "field": (("fields", mesh.modes),),
        "power": (("powers", mesh.modes),),
        "taps": (("fields", mesh.modes), ("powers", mesh.count), ("powers", mesh.count), ("powers", mesh.modes)),
    }
    digests, kinds, vectors = (file[name] for name in ("digests", "kinds", "vectors"))
    readings = {name: file[name] for name in ("fields", "powers")}
    if not len(digests) == len(kinds) == len(vectors):
        raise ValueError(UNFIT)
    answers: list[tuple[bytes, Answer]] = []
    at = dict.fromkeys(readings, 0)
    for row, kind, batch in zip(digests, kinds, vectors.tolist()):
        parts = []
        for name, size in sizes[KINDS[kind]]:
            parts.append(readings[name][at[name] : at[name] + size * batch].reshape(size, batch))
            at[name] += size * batch
        answers.append((row.tobytes(), tuple(parts)))
    if any(at[name] != flat.size for name, flat in readings.items()):
        raise ValueError(UNFIT)
    return answers
