"""A recorded mesh: `l2sim.chip.recorded` for a `MeshHardware`.

File: one .npz without pickle. `digests` (R, 16) of the queries in order, `kinds` (R,) of their answers (an index into
KINDS), `vectors` (R,) B of each, `fields` and `powers` all readings flattened one after the other; `mesh`, `couplers`,
`readouts`, `format`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from hashlib import blake2b
from pathlib import Path
from typing import Self

import numpy as np

from l2sim.backend import Array
from l2sim.chip.meter import Meter, Settling
from l2sim.chip.protocol import PHASES, MeshHardware, Taps, check
from l2sim.chip.recorded import DAMAGED, write
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh

__all__ = ["MeshRecorder", "MeshReplay"]

FORMAT = "l2sim mesh recording 1"
KINDS = ("field", "power", "taps")


def digest(phases: dict[str, Array], operation: str, light: Array, waited: float = 0.0) -> bytes:
    """Of what is commanded, how long it was waited, and one probe."""
    later = f" after {waited!r} s" if waited else ""
    found = blake2b(f"{operation} {light.shape}{later}".encode(), digest_size=16)
    for array in (*phases.values(), np.real(light), np.imag(light)):
        found.update((np.asarray(array, np.float64) + 0.0).tobytes())  # adding zero makes -0.0 equal to 0.0
    return found.digest()


class MeshRecorder:
    """A `MeshHardware` that passes everything on to `hardware` and writes the answers down."""

    def __init__(self, hardware: MeshHardware) -> None:
        check(hardware, MeshHardware)
        self.mesh, self.readouts = hardware.mesh, hardware.readouts
        self._hardware = hardware
        self._waited = 0.0
        self._queries: list[bytes] = []
        self._kinds: list[int] = []
        self._vectors: list[int] = []
        self._fields: list[Array] = []
        self._powers: list[Array] = []

    @property
    def meter(self) -> Meter:
        """The meter of the hardware behind."""
        return self._hardware.meter

    @property
    def commanded(self) -> dict[str, Array]:
        """Copies of the phases last commanded, by name."""
        return self._hardware.commanded

    def set_phases(self, theta: Array | None = None, phi: Array | None = None, screen: Array | None = None) -> None:
        """Command nominal phases, radians: theta, phi (n,) in travel order, screen (N,). None leaves them."""
        self._hardware.set_phases(theta, phi, screen)

    def wait(self, seconds: float) -> None:
        """Let chip time pass, for all chips that share the meter."""
        self._hardware.wait(seconds)
        self._waited += seconds

    def forward(self, x: Array, readout: str = "field") -> Array:
        """Send x (N, B) into the inputs and read the outputs: complex for "field", real for "power"."""
        return self._note(f"forward {readout}", x, readout, self._hardware.forward(x, readout))

    def backward(self, y: Array, readout: str = "field") -> Array:
        """Send y (N, B) into the outputs and read the inputs. A mesh is reciprocal: this light sees U^T."""
        return self._note(f"backward {readout}", y, readout, self._hardware.backward(y, readout))

    def taps(self, x: Array, back: bool = False) -> tuple[Array, Taps]:
        """`forward` (or `backward`) with the field read at the far end and the power at every phase shifter."""
        field, taps = self._hardware.taps(x, back)
        self._powers += [power.copy() for power in taps]
        return self._note(f"taps {back}", x, "taps", field), taps

    def _note(self, operation: str, light: Array, kind: str, answer: Array) -> Array:
        self._queries.append(digest(self._hardware.commanded, operation, light, self._waited))
        self._kinds.append(KINDS.index(kind))
        self._vectors.append(light.shape[1])
        (self._powers if kind == "power" else self._fields).append(answer.copy())
        return answer

    def save(self, path: str | Path) -> None:
        """Write the recording to `path` (.npz), whole or not at all. ChipError where it cannot be written."""
        mesh = self.mesh
        write(
            path,
            format=np.array(FORMAT),
            mesh=np.array([mesh.kind, str(mesh.modes), str(int(mesh.inner_signs)), mesh.node]),
            couplers=np.array(mesh.couplers, np.int64).reshape(-1, 3),
            readouts=np.array(self.readouts),
            digests=np.frombuffer(b"".join(self._queries), np.uint8).reshape(-1, 16),
            kinds=np.array(self._kinds, np.int64),
            vectors=np.array(self._vectors, np.int64),
            fields=_flat(self._fields),
            powers=_flat(self._powers),
        )


def _flat(arrays: list[Array]) -> Array:
    return np.concatenate([array.ravel() for array in arrays] or [np.empty(0)])


class MeshReplay:
    """A `MeshHardware` that answers from a recording; made by `MeshReplay.load`. An unknown query is a ChipError."""

    def __init__(
        self, mesh: Mesh, readouts: tuple[str, ...], answers: list[tuple[bytes, tuple[Array, ...]]], meter: Meter
    ) -> None:
        self.mesh, self.readouts, self.meter = mesh, readouts, meter
        self._waited, self._settling = 0.0, Settling()
        self._kind = answers[0][1][0].real.dtype if answers else np.dtype(np.float64)
        sizes = (mesh.count, mesh.count, mesh.modes)
        self._phases = {part: np.zeros(size, self._kind) for part, size in zip(PHASES, sizes)}
        self._answers: defaultdict[bytes, deque[tuple[Array, ...]]] = defaultdict(deque)
        for query, answer in answers:
            self._answers[query].append(answer)

    @classmethod
    def load(cls, path: str | Path, *, meter: Meter | None = None) -> Self:
        """Read what `MeshRecorder.save` wrote. ChipError for a file that is missing, damaged, or something else."""
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                if str(file["format"]) != FORMAT:
                    raise ValueError("it has another format")
                kind, modes, inner, node = map(str, file["mesh"])
                couplers = tuple(tuple(map(int, row)) for row in file["couplers"])
                mesh = Mesh(kind, int(modes), bool(int(inner)), node, couplers)  # type: ignore[arg-type]
                readouts = tuple(map(str, file["readouts"]))
                answers = _answers(mesh, *(file[key] for key in ("digests", "kinds", "vectors", "fields", "powers")))
        except FileNotFoundError as error:
            raise ChipError(f"recording {path} does not exist; give a file written by MeshRecorder.save") from error
        except (*DAMAGED, ChipError) as error:
            reason = str(error).partition("\n")[0]
            raise ChipError(f"{path} is not a whole l2sim mesh recording ({reason}); record it again") from error
        return cls(mesh, readouts, answers, Meter() if meter is None else meter)

    @property
    def commanded(self) -> dict[str, Array]:
        """Copies of the phases last commanded, by name."""
        return {part: values.copy() for part, values in self._phases.items()}

    def set_phases(self, theta: Array | None = None, phi: Array | None = None, screen: Array | None = None) -> None:
        """Command nominal phases, radians: theta, phi (n,) in travel order, screen (N,). None leaves them."""
        changed = 0
        for part, values in zip(PHASES, (theta, phi, screen)):
            if values is not None:
                before, now = self._phases[part], np.array(values, self._kind)
                if now.shape != before.shape:
                    raise ChipError(f"{part} has shape {now.shape}; this mesh takes {before.shape} in travel order")
                changed += int(np.count_nonzero(now != before))
                self._phases[part] = now
        if changed:
            self.meter.count(writes=changed)
            self._settling.wrote()

    def wait(self, seconds: float) -> None:
        """Let chip time pass, for all chips that share the meter."""
        self.meter.wait(seconds)
        self._waited += seconds

    def forward(self, x: Array, readout: str = "field") -> Array:
        """Send x (N, B) into the inputs and read the outputs: complex for "field", real for "power"."""
        return self._recall(f"forward {readout}", x)[0]

    def backward(self, y: Array, readout: str = "field") -> Array:
        """Send y (N, B) into the outputs and read the inputs. A mesh is reciprocal: this light sees U^T."""
        return self._recall(f"backward {readout}", y)[0]

    def taps(self, x: Array, back: bool = False) -> tuple[Array, Taps]:
        """`forward` (or `backward`) with the field read at the far end and the power at every phase shifter."""
        field, *taps = self._recall(f"taps {back}", x)
        self.meter.count(tap_readings=sum(power.size for power in taps))
        return field, Taps(*taps)

    def _recall(self, operation: str, light: Array) -> tuple[Array, ...]:
        query = digest(self._phases, operation, light, self._waited)
        if query not in self._answers:
            raise ChipError(f"the recording holds no such {operation} probe; repeat the run exactly as it was recorded")
        if not self._answers[query]:
            raise ChipError(f"this {operation} probe was recorded fewer times than it is asked; repeat the run exactly")
        self.meter.count(core_calls=light.shape[1], vectors=light.shape[1], settled=self._settling.waits())
        return tuple(array.copy() for array in self._answers[query].popleft())


def _answers(
    mesh: Mesh, digests: Array, kinds: Array, vectors: Array, fields: Array, powers: Array
) -> list[tuple[bytes, tuple[Array, ...]]]:
    """Queries and their answers: a field, powers, or a field and powers at theta, phi and the screen."""
    rows = {"field": (mesh.modes,), "power": (), "taps": (mesh.modes,)}
    real = {"field": (), "power": (mesh.modes,), "taps": (mesh.count, mesh.count, mesh.modes)}
    found, at = [], {"fields": 0, "powers": 0}
    if not len(digests) == len(kinds) == len(vectors):
        raise ValueError("its parts do not fit together")
    for row, kind, batch in zip(digests, kinds, vectors.tolist()):
        parts = []
        for name, flat, sizes in (("fields", fields, rows[KINDS[kind]]), ("powers", powers, real[KINDS[kind]])):
            for size in sizes:
                parts.append(flat[at[name] : at[name] + size * batch].reshape(size, batch))
                at[name] += size * batch
        found.append((row.tobytes(), tuple(parts)))
    if (at["fields"], at["powers"]) != (fields.size, powers.size):
        raise ValueError("its parts do not fit together")
    return found
