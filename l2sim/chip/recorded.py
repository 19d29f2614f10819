"""A recorded chip: what real or simulated hardware answered, and the replay of it.

`Recorder` stands in front of any `Hardware` and writes down what every probe read. `Replay` answers the same queries
with those readings and knows nothing else, so that a run can be repeated without the chip. A query is what the chip was
commanded at the time, how long it had been waited for, the operation and the light sent. Equal queries (repeated noisy
readings) are answered in order. Neither has fused operations: algorithms take the public path.

File: one .npz without pickle. `digests` (R, 16) of the queries in order, `vectors` (R,) B of each, `answers` all
readings (p, q, k, B) flattened one after the other; `shape`, `mesh`, `readouts`, `format`.
"""

from __future__ import annotations

import zipfile
import zlib
from collections import defaultdict, deque
from hashlib import blake2b
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from l2sim import files
from l2sim.backend import Array
from l2sim.chip.meter import Meter, Settling
from l2sim.chip.protocol import PARTS, Hardware, check
from l2sim.errors import ChipError
from l2sim.mesh.mesh import Mesh

__all__ = ["Recorder", "Replay"]

FORMAT = "l2sim recording 1"
DAMAGED = (OSError, EOFError, ValueError, LookupError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def write(path: str | Path, **arrays: Array) -> None:
    """Write arrays to `path` (.npz), whole or not at all. ChipError where it cannot be written."""
    with files.replacing(Path(path), refuse=ChipError) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


class _Settings:
    """What a grid of cores is commanded, starting as a fresh chip does: zero phases, signs and sigma one."""

    def __init__(self, shape: tuple[int, int], mesh: Mesh, dtype: DTypeLike = np.float64) -> None:
        self.shape, self.mesh, self.dtype = shape, mesh, dtype
        ends = (*shape, mesh.modes)
        self.waited = 0.0
        self.arrays: dict[str, Array] = {"sigma": np.ones(ends)}
        for part in PARTS:
            self.arrays |= {f"phases.{part}": np.zeros((*shape, mesh.count)), f"signs.{part}": np.ones(ends)}

    def phases(self, part: str, phases: Array) -> int:
        """Command the phases of a mesh; returns how many changed."""
        wanted = (*self.shape, *self.mesh.shape)
        if np.shape(phases) != wanted:
            raise ChipError(f"phases of {part} have shape {np.shape(phases)}; this chip takes {wanted}")
        return self.set(f"phases.{part}", self.mesh.gather(phases))

    def set(self, name: str, values: Array) -> int:
        """Command `name`; returns how many values changed, in the precision of the chip."""
        before, now = self.arrays[name], np.array(values, np.float64)
        if now.shape != before.shape:
            raise ChipError(f"{name} have shape {now.shape}; this chip takes {before.shape}")
        self.arrays[name] = now
        return int(np.count_nonzero(now.astype(self.dtype) != before.astype(self.dtype)))

    def query(self, operation: str, light: Array, cores: Array | None, readout: str) -> bytes:
        """Digest of the settings and of one probe."""
        p, q = self.shape
        light = np.broadcast_to(light, (p, q, *light.shape[-2:]))
        mask = np.ones(self.shape, bool) if cores is None else np.asarray(cores, bool)
        later = f" after {self.waited!r} s" if self.waited else ""
        digest = blake2b(f"{operation} {readout} {light.shape}{later}".encode(), digest_size=16)
        parts = (light.real, light.imag) if np.iscomplexobj(light) else (light,)
        for array in (*self.arrays.values(), *parts):
            digest.update((np.asarray(array, np.float64) + 0.0).tobytes())  # adding zero makes -0.0 equal to 0.0
        digest.update(mask.tobytes())
        return digest.digest()


class Recorder:
    """A `Hardware` that passes everything on to `hardware` and writes the answers down. Start it on a fresh chip."""

    def __init__(self, hardware: Hardware) -> None:
        check(hardware)
        self.shape, self.mesh, self.readouts = hardware.shape, hardware.mesh, hardware.readouts
        self._hardware = hardware
        self._settings = _Settings(self.shape, self.mesh)
        self._queries: list[bytes] = []
        self._answers: list[Array] = []

    @property
    def meter(self) -> Meter:
        """The meter of the hardware behind."""
        return self._hardware.meter

    def set_phases(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Command nominal phases, radians, (p, q, C, k - 1); places without an MZI are ignored."""
        self._hardware.set_phases(u=u, v=v)
        for part, phases in (("u", u), ("v", v)):
            if phases is not None:
                self._settings.phases(part, phases)

    def set_signs(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Set the pi shifters at the output ports of a mesh: +1 or -1, (p, q, k)."""
        self._hardware.set_signs(u=u, v=v)
        for part, signs in (("u", u), ("v", v)):
            if signs is not None:
                self._settings.set(f"signs.{part}", signs)

    def set_sigma(self, sigma: Array) -> None:
        """Command the attenuators and the electronic gain behind each core: any real numbers, (p, q, k)."""
        self._hardware.set_sigma(sigma)
        self._settings.set("sigma", sigma)

    def wait(self, seconds: float) -> None:
        """Let chip time pass, for all chips that share the meter."""
        self._hardware.wait(seconds)
        self._settings.waited += seconds

    def forward(self, x: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send light into the inputs of every core and read its outputs.

        `x`: (p, q, k, B) or anything that broadcasts to it. `cores`: optional mask (p, q); a core left out is not
        probed and reads zero. Returns (p, q, k, B): signed amplitudes, or powers for `readout="power"`.
        """
        answer = self._hardware.forward(x, cores=cores, readout=readout)
        return self._note(self._settings.query("forward", x, cores, readout), answer)

    def backward(self, y: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send light into the outputs of every core and read its inputs: the transpose of `forward`."""
        answer = self._hardware.backward(y, cores=cores, readout=readout)
        return self._note(self._settings.query("backward", y, cores, readout), answer)

    def _note(self, query: bytes, answer: Array) -> Array:
        self._queries.append(query)
        self._answers.append(answer.copy())
        return answer

    def save(self, path: str | Path) -> None:
        """Write the recording to `path` (.npz), whole or not at all. ChipError where it cannot be written."""
        mesh = self.mesh
        write(
            path,
            format=np.array(FORMAT),
            shape=np.array(self.shape),
            mesh=np.array([mesh.kind, str(mesh.modes), str(int(mesh.inner_signs))]),
            readouts=np.array(self.readouts),
            digests=np.frombuffer(b"".join(self._queries), np.uint8).reshape(-1, 16),
            vectors=np.array([answer.shape[-1] for answer in self._answers], np.int64),
            answers=np.concatenate([answer.ravel() for answer in self._answers] or [np.empty(0)]),
        )


class Replay:
    """A `Hardware` that answers from a recording; made by `Replay.load`. An unknown query is a ChipError."""

    def __init__(
        self,
        shape: tuple[int, int],
        mesh: Mesh,
        readouts: tuple[str, ...],
        answers: list[tuple[bytes, Array]],
        *,
        meter: Meter | None = None,
    ) -> None:
        self.shape, self.mesh, self.readouts = shape, mesh, readouts
        self.meter = Meter() if meter is None else meter
        self._settling = Settling()
        self._settings = _Settings(shape, mesh, answers[0][1].dtype if answers else np.float64)
        self._answers: defaultdict[bytes, deque[Array]] = defaultdict(deque)
        for query, answer in answers:
            self._answers[query].append(answer)

    @classmethod
    def load(cls, path: str | Path, *, meter: Meter | None = None) -> Self:
        """Read what `Recorder.save` wrote. ChipError for a file that is missing, damaged, or something else."""
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                if str(file["format"]) != FORMAT:
                    raise ValueError("it has another format")
                p, q = map(int, file["shape"])
                kind, modes, inner = map(str, file["mesh"])
                mesh = Mesh(kind, int(modes), bool(int(inner)))
                readouts = tuple(map(str, file["readouts"]))
                digests, flat, sizes = file["digests"], file["answers"], file["vectors"] * (p * q * mesh.modes)
                if len(digests) != len(sizes) or flat.size != sizes.sum():
                    raise ValueError("its parts do not fit together")
                pieces = [a.reshape(p, q, mesh.modes, -1) for a in np.split(flat, np.cumsum(sizes)[:-1])]
        except FileNotFoundError as error:
            raise ChipError(f"recording {path} does not exist; give a file written by Recorder.save") from error
        except (*DAMAGED, ChipError) as error:
            reason = str(error).partition("\n")[0]
            raise ChipError(f"{path} is not a whole l2sim recording ({reason}); record it again") from error
        answers = [(row.tobytes(), piece) for row, piece in zip(digests, pieces)]
        return cls((p, q), mesh, readouts, answers, meter=meter)

    def set_phases(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Command nominal phases, radians, (p, q, C, k - 1); places without an MZI are ignored."""
        for part, phases in (("u", u), ("v", v)):
            if phases is not None:
                self._count(self._settings.phases(part, phases))

    def set_signs(self, *, u: Array | None = None, v: Array | None = None) -> None:
        """Set the pi shifters at the output ports of a mesh: +1 or -1, (p, q, k)."""
        for part, signs in (("u", u), ("v", v)):
            if signs is not None:
                self._count(self._settings.set(f"signs.{part}", signs))

    def set_sigma(self, sigma: Array) -> None:
        """Command the attenuators and the electronic gain behind each core: any real numbers, (p, q, k)."""
        self._count(self._settings.set("sigma", sigma))

    def wait(self, seconds: float) -> None:
        """Let chip time pass, for all chips that share the meter. What is asked afterwards is answered with what was
        read then."""
        self.meter.wait(seconds)
        self._settings.waited += seconds

    def forward(self, x: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send light into the inputs of every core and read its outputs.

        `x`: (p, q, k, B) or anything that broadcasts to it. `cores`: optional mask (p, q); a core left out is not
        probed and reads zero. Returns (p, q, k, B): signed amplitudes, or powers for `readout="power"`.
        """
        return self._recall("forward", x, cores, readout)

    def backward(self, y: Array, *, cores: Array | None = None, readout: str = "quadrature") -> Array:
        """Send light into the outputs of every core and read its inputs: the transpose of `forward`."""
        return self._recall("backward", y, cores, readout)

    def _count(self, changed: int) -> None:
        if changed:
            self.meter.count(writes=changed)
            self._settling.wrote()

    def _recall(self, operation: str, light: Array, cores: Array | None, readout: str) -> Array:
        query = self._settings.query(operation, light, cores, readout)
        if query not in self._answers:
            raise ChipError(f"the recording holds no such {operation} probe; repeat the run exactly as it was recorded")
        if not self._answers[query]:
            raise ChipError(f"this {operation} probe was recorded fewer times than it is asked; repeat the run exactly")
        probed = self.shape[0] * self.shape[1] if cores is None else int(np.count_nonzero(cores))
        count = light.shape[-1]
        self.meter.count(core_calls=probed * count, vectors=count, settled=self._settling.waits())
        answer = self._answers[query].popleft()
        # One array holds all answers: where some are fields, all came back complex.
        return answer.real.copy() if readout != "field" else answer.copy()
