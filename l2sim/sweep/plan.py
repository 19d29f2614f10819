"""What a sweep runs: its file (docs/sweeps.md) becomes a `Plan`, which makes the job of any point when it is asked.

A sweep is the product of its parts: every field of `[grid]`, the rows of `[list]`, the samples of `[random]` and of
`[latin]`; the last part in the file changes fastest. Nothing is held for a point, and 16 bytes for a sample of a field.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import msgspec

from l2sim.backend import Array, generator
from l2sim.errors import JobError
from l2sim.job import job as jobs
from l2sim.job.job import Job
from l2sim.job.sections import Section
from l2sim.sweep import cluster

MOST = 10_000_000
"""Points of a sweep; each costs nine bytes while it runs."""
PARTS = ("grid", "list", "random", "latin")
KEYS = ("job", "smoke", "overrides", *PARTS, "threads", "attempts", "cluster")
ATTEMPTS = 3
"""How often a point is tried that fails."""


class Column(Protocol):
    """The values of one field, by row."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> object: ...


class Samples:
    """`unit` (rows,) in [0, 1) drawn for a field, spread over a range from `low` to `high` or over a list `among`.

    Whole numbers are low + floor(u (high - low + 1)), each as likely as the others; with `log` the logarithm is spread.
    """

    def __init__(
        self, path: str, unit: Array, low: float, high: float, log: bool, whole: bool, among: Sequence[object]
    ) -> None:
        self._path, self._unit, self._among = path, unit, among
        self._low, self._high, self._log, self._whole = low, high, log, whole

    def __len__(self) -> int:
        return len(self._unit)

    def __getitem__(self, row: int) -> object:
        u = float(self._unit[row])
        if self._among:
            return self._among[int(u * len(self._among))]
        low, high = self._low, self._high + self._whole
        x = low * (high / low) ** u if self._log else low + u * (high - low)
        x = min(max(math.floor(x) if self._whole else x, self._low), self._high)
        return jobs.field(self._path, x)


@dataclass(frozen=True)
class Part:
    """One factor of the product: columns of equal length, by the path of their field."""

    kind: str
    columns: Mapping[str, Column]

    @property
    def count(self) -> int:
        """How many rows it has."""
        return len(next(iter(self.columns.values())))

    def distinct(self, paths: set[str]) -> int:
        """How many different rows there are in the columns of these fields."""
        columns = [column for path, column in self.columns.items() if path in paths]
        return len({repr([column[row] for column in columns]) for row in range(self.count)}) if columns else 1


class Plan:
    """The jobs of a sweep by index. `source` is the file as plain values with the job in full: `plan(source)` is the
    same plan. `threads` of every point; `attempts` for points that fail; `cluster` as in the file."""

    def __init__(self, base: Job, parts: Sequence[Part], source: Mapping[str, Any]) -> None:
        self.base, self.parts, self.source = base, tuple(parts), dict(source)
        self.threads: int = source.get("threads", 1)
        self.attempts: int = source.get("attempts", ATTEMPTS)
        self.cluster = msgspec.convert(source.get("cluster", {}), cluster.Section)
        self.fields = [path for part in parts for path in part.columns]
        same = {key: value for key, value in source.items() if key not in ("attempts", "cluster")}
        self.digest = blake2b(json.dumps(same).encode(), digest_size=8).hexdigest()

    def __len__(self) -> int:
        return math.prod(part.count for part in self.parts)

    def values(self, index: int) -> dict[str, object]:
        """What point `index` sets, by path."""
        values: dict[str, object] = {}
        for part in reversed(self.parts):
            index, row = divmod(index, part.count)
            values |= {path: column[row] for path, column in part.columns.items()}
        return {path: values[path] for path in self.fields}

    def __getitem__(self, index: int) -> Job:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return jobs.varied(self.base, self.values(index))

    def name(self, index: int) -> str:
        """The folder of a point: its index and the digest of its job."""
        digest = blake2b(msgspec.json.encode(jobs.to_dict(self[index])), digest_size=4).hexdigest()
        return f"{index:0{len(str(len(self) - 1))}}-{digest}"

    def check(self) -> None:
        """Look at every point. JobError naming the first that cannot be run, and what it sets."""
        for index in range(len(self)):
            try:
                self[index]
            except JobError as error:
                settings = ", ".join(f"{path} = {value}" for path, value in self.values(index).items())
                raise JobError(f"point {index} ({settings}): {error}") from None


def load(path: Path) -> Plan:
    """The plan of a file. Raises JobError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"there is no file {path}; write one as in docs/sweeps.md") from None
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"{path} is not valid TOML: {error}; text needs quotes, a section is a line [grid]") from None
    except UnicodeDecodeError:
        raise JobError(f"{path} is not a text file; a sweep is TOML in UTF-8") from None
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return plan(values, path.parent, re.sub(r"[^\w.-]+", "-", path.stem, flags=re.ASCII).strip("-._") or "sweep")
    except JobError as error:
        raise JobError(f"{path}: {error}") from None


def plan(values: Mapping[str, Any], folder: Path = Path(), name: str = "sweep") -> Plan:
    """The plan of a file's plain values; a job file is looked for in `folder`, `name` is for a job without one."""
    for key in values:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1, 0.5)
            cure = f"did you mean {near[0]}?" if near else f"it has {', '.join(KEYS)}"
            raise JobError(f"a sweep has no {key}; {cure}")
    base = _base(values, folder, name)
    threads = _whole(values, "threads", 1, 1024)
    attempts = _whole(values, "attempts", ATTEMPTS, 100)
    parts = [part for kind in values if kind in PARTS for part in _parts(kind, values[kind], base)]
    if not parts:
        raise JobError("nothing varies; give it a section such as [grid] with seed = [1, 2]")
    every = [path for part in parts for path in part.columns]
    if twice := next((path for path in every if every.count(path) > 1), ""):
        raise JobError(f"{twice} varies twice; leave it in one section")
    if (count := math.prod(part.count for part in parts)) > MOST:
        raise JobError(f"there are {count:,} points; the most is {MOST:,}: sample them with [random] or [latin]")
    source: dict[str, object] = {"job": jobs.to_dict(base)}
    source |= {kind: dict(_flat(values[kind])) for kind in values if kind in PARTS}
    source |= {"threads": threads, "attempts": attempts, "cluster": _cluster(values.get("cluster", {}))}
    return Plan(base, parts, source)


def _base(values: Mapping[str, Any], folder: Path, name: str) -> Job:
    job, smoke, overrides = values.get("job", "digits"), values.get("smoke", False), values.get("overrides", {})
    if isinstance(job, str):
        base = jobs.load(folder / job if job.endswith(".toml") or "/" in job else job)
    elif isinstance(job, Mapping):
        base = jobs.from_dict({"name": name, **job})
    else:
        raise JobError(f"job = {job!r} is no job; name a preset or a file, or write it as a section [job]")
    if not isinstance(smoke, bool):
        raise JobError(f"smoke = {smoke!r} is neither true nor false")
    base = jobs.smoke(base) if smoke else base
    if isinstance(overrides, list) and all(isinstance(line, str) for line in overrides):
        base = jobs.with_overrides(base, overrides)
    elif isinstance(overrides, Mapping):
        base = jobs.varied(base, {path: jobs.field(path, value) for path, value in _flat(overrides)})
    else:
        raise JobError('overrides is neither a section nor a list; write [overrides] and then "learn.epochs" = 5')
    if (weights := Path(base.pretrain.weights)) != Path() and not weights.is_absolute():
        base = jobs.varied(base, {"pretrain.weights": str(weights.absolute())})  # a worker may have another folder
    return base


def _flat(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Paths and values of a section, whose fields may be written `learn.lr = 1`, `"learn.lr" = 1` or in [X.learn]."""
    for key, value in table.items():
        if isinstance(value, Mapping) and isinstance(getattr(_DEFAULT, key, None), Section):
            yield from ((f"{key}.{name}", item) for name, item in value.items())
        else:
            yield key, value


_DEFAULT = Job()


def _whole(values: Mapping[str, object], key: str, default: int, most: int) -> int:
    value = values.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise JobError(f"{key} = {value!r} is no whole number from 1 to {most}")
    return value


def _cluster(section: object) -> dict[str, object]:
    if not isinstance(section, Mapping):
        raise JobError('cluster is a section; write [cluster] and then kind = "slurm"')
    kinds: dict[str, tuple[type, str]] = {
        "kind": (str, f"one of {', '.join(cluster.KINDS)}"), "workers": (int, "a whole number from 1"),
        "shared": (bool, "true or false"), "options": (dict, "a section [cluster.options]"),
    }  # fmt: skip
    for key, value in section.items():
        if key not in kinds:
            raise JobError(f"[cluster] has no {key}; it has {', '.join(kinds)}")
        kind, wanted = kinds[key]
        right = isinstance(value, kind) and (key != "kind" or value in cluster.KINDS)
        if not right or (key == "workers" and (isinstance(value, bool) or value < 1)):
            raise JobError(f"[cluster] {key} = {value!r}: use {wanted}")
    return dict(section)


# ------------------------------------------------------------------------------------------------------- the parts


def _parts(kind: str, table: object, base: Job) -> list[Part]:
    if not isinstance(table, Mapping):
        raise JobError(f"{kind} is a section; write [{kind}] and then fields such as seed = [1, 2]")
    try:
        if kind in ("random", "latin"):
            return [_sampled(kind, dict(table), base)]
        columns = {path: _listed(path, values) for path, values in _flat(table)}
        if kind == "grid":
            return [Part(kind, {path: column}) for path, column in columns.items()]
        lengths = {path: len(column) for path, column in columns.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{path} {length}" for path, length in lengths.items())
            raise JobError(f"its lists go side by side, but their lengths differ ({counts})")
        return [Part(kind, columns)] if columns else []
    except JobError as error:
        raise JobError(f"[{kind}] {error}") from None


def _listed(path: str, values: object) -> list[object]:
    if not isinstance(values, list):
        jobs.field(path, values)  # a field that does not exist is the worse mistake
        raise JobError(f"{path} = {values!r} is not a list; write {path} = [{values!r}]")
    if not values:
        raise JobError(f"{path} = [] has no values; give it some, or leave it out")
    return [jobs.field(path, value) for value in values]


def _sampled(kind: str, table: dict[str, object], base: Job) -> Part:
    draw = table.pop("draw", 0)
    if "samples" not in table:
        raise JobError("says not how many; write samples = 100")
    count = _whole(table, "samples", 1, MOST)
    table.pop("samples")
    if not isinstance(draw, int) or isinstance(draw, bool) or not 0 <= draw < 2**32:
        raise JobError(f"draw = {draw!r} is no whole number from 0; another one draws other samples")
    columns = {}
    for path, given in _flat(table):
        rng = generator(draw, "sweep", kind, path)
        # M. D. McKay, R. J. Beckman, W. J. Conover, Technometrics 21, 239 (1979): u_i = (pi(i) + v_i) / n with a random
        # permutation pi of 0 .. n - 1 and v_i uniform in [0, 1), so that every n-th of a range is met once.
        unit = (rng.permutation(count) + rng.random(count)) / count if kind == "latin" else rng.random(count)
        if isinstance(given, Mapping):
            jobs.value(base, path)  # a field that does not exist is the worse mistake
        columns[path] = _range(path, given, unit)
    if not columns:
        raise JobError('samples nothing; give it fields such as "learn.lr" = {low = 1e-4, high = 1e-2, log = true}')
    return Part(kind, columns)


def _range(path: str, given: object, unit: Array) -> Samples:
    if isinstance(given, list):
        return Samples(path, unit, 0, 0, False, False, _listed(path, given))
    form = "write {low = 1e-4, high = 1e-2, log = true}, or a list of values"
    if not isinstance(given, Mapping) or not {"low", "high"} <= given.keys() <= {"low", "high", "log", "integer"}:
        raise JobError(f"{path} = {given!r} is no range; {form}")
    low, high = (jobs.field(path, given[end]) for end in ("low", "high"))
    log, whole = given.get("log", False), given.get("integer", False) or isinstance(low, int)
    if not isinstance(low, int | float) or not isinstance(high, int | float) or bool in (type(low), type(high)):
        raise JobError(f"{path} is no number; give it a list of values")
    if not isinstance(log, bool) or not isinstance(given.get("integer", False), bool):
        raise JobError(f"{path}: log and integer are true or false")
    if not low < high or (log and low <= 0):
        raise JobError(f"{path} runs from {low:g} to {high:g}; low must be below high{' and above 0' if log else ''}")
    if whole and (low != int(low) or high != int(high)):
        raise JobError(f"{path} runs from {low:g} to {high:g}, but in whole numbers; use whole ends")
    return Samples(path, unit, low, high, log, whole, ())
