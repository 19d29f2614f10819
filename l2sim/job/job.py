"""A job: everything that decides what a run computes, validated once.

A job has one section per part of its flow (`job/sections.py`). Each field carries its unit, range and one-line meaning,
which the checks below and `l2sim presets --explain` read. A field left out of a TOML file takes its default: that of
preset `digits`, or with flow = "insitu" that of preset `insitu-digits`.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from l2sim.errors import JobError
from l2sim.job import checks, presets
from l2sim.job.imperfections import Nonidealities
from l2sim.job.sections import (
    RESTART,
    Calibrate,
    Chip,
    Cost,
    Data,
    Insitu,
    Learn,
    Map,
    Model,
    Picture,
    Pretrain,
    Section,
    Upkeep,
    said,
)


class Job(Section, frozen=True):
    """What a run computes. Made by `load`, `Job.preset` or `from_dict`, which validate it."""

    name: Annotated[str, said("names the run folder: letters, digits, '.', '_' and '-'")] = "digits"
    flow: Annotated[Literal["l2ight", "insitu"], said("blocked cores mapped and trained; whole meshes trained")] = (
        "l2ight"
    )
    seed: Annotated[int, said("of the chip, the initial weights and every random choice", "", 0, 2**32 - 1)] = 1
    precision: Annotated[Literal["float64", "float32"], said("number format of the simulation")] = "float64"
    device: Annotated[str, said("what computes: cpu, cuda (all GPUs) or cuda:N")] = "cpu"
    model: Model = Model()
    data: Data = Data()
    nonidealities: Nonidealities = Nonidealities()
    chip: Chip = Chip()
    insitu: Insitu = Insitu()
    pretrain: Pretrain = Pretrain()
    calibrate: Calibrate = Calibrate()
    map: Map = Map()
    learn: Learn = Learn()
    upkeep: Upkeep = Upkeep()
    cost: Cost = Cost()

    @staticmethod
    def preset(name: str, overrides: Mapping[str, Any] | None = None) -> Job:
        """The preset `name` with some fields changed, e.g. `Job.preset("digits", {"learn.epochs": 5})`."""
        return _replaced(from_dict(presets.get(name).values), overrides or {})


UNUSED = {"l2ight": ("insitu",), "insitu": ("model", "chip", "pretrain", "calibrate", "map")}
"""Sections that a flow has no use for."""


class Field(NamedTuple):
    """One field of a job as people read it. `when` a change takes effect while a run goes on: live, next epoch, or
    restart: not before another run."""

    path: str
    value: Any
    unit: str
    range: str
    meaning: str
    when: str
    low: float | None = None
    high: float | None = None


# ------------------------------------------------------------------------------------------------ making a job


def load(source: str | Path) -> Job:
    """The job of a preset's name or of a TOML file. Raises JobError."""
    text = str(source)
    path = Path(source)
    if text in presets.PRESETS:
        return Job.preset(text)
    if path.is_dir():
        raise JobError(f"{path} is a folder; name a preset or a file, e.g. {path / 'job.toml'}")
    if not path.exists() and path.suffix != ".toml" and len(path.parts) == 1:
        presets.get(text)  # raises, with the nearest preset
    try:
        toml = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise JobError(f"there is no file {path}; write one with the fields of `l2sim presets --explain`") from None
    except UnicodeDecodeError:
        raise JobError(f"{path} is not a text file; a job is TOML in UTF-8") from None
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from None
    # A file without a name takes the file's; characters a folder should not have become '-'.
    stem = re.sub(r"[^\w.-]+", "-", path.stem, flags=re.ASCII).strip("-._") or "job"
    return from_toml(toml, str(path), name=stem)


def from_toml(text: str, where: str = "job.toml", *, name: str = "job") -> Job:
    """The job a TOML text describes; `where` names the text in errors, `name` the job if the text does not."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"{where} is not valid TOML: {error}; text needs quotes, a section is a line [learn]") from None
    if not values:
        raise JobError(f"{where} sets nothing; give it at least one field of `l2sim presets --explain`")
    try:
        return from_dict({"name": name} | values)
    except JobError as error:
        raise JobError(f"{where}: {error}") from None


def to_toml(job: Job) -> str:
    """`job` as TOML that `from_toml` turns into the same job."""
    import tomli_w

    return tomli_w.dumps(to_dict(job))


def from_dict(values: Mapping[str, Any]) -> Job:
    """The job of nested plain values, every one checked. Raises JobError naming the field, its range and unit."""
    flat: dict[str, Any] = dict(presets.defaults(values.get("flow")))
    for key, value in values.items():
        section = _sections().get(key)
        if section is None:
            if key not in _annotations():
                raise _unknown(f"{key}.{next(iter(value))}" if isinstance(value, dict) and value else key)
            flat[key] = value
        elif isinstance(value, Mapping):
            flat |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            raise _not_a_field(key)
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        _check_flow(path, flat.get("flow", "l2ight"))
        head, _, leaf = path.rpartition(".")
        (tree.setdefault(head, {}) if head else tree)[leaf] = _checked(path, value)
    job = msgspec.convert(tree, Job)
    checks.together(job)
    return job


def to_dict(job: Job) -> dict[str, Any]:
    """`job` as nested plain values, without other flows' sections and the fields left to a preset of the chip."""
    return {
        key: {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
        for key, value in msgspec.to_builtins(job).items()
        if key not in UNUSED[job.flow]
    }


def with_overrides(job: Job, settings: Iterable[str]) -> Job:
    """`job` changed by settings such as `learn.epochs=5`; a value is TOML, a bare word is text. Raises JobError."""
    changes = {}
    for setting in settings:
        path, equals, text = (part.strip() for part in setting.partition("="))
        if not equals or not path:
            raise JobError(f"{setting!r} sets nothing; write path=value, e.g. learn.epochs=5")
        if not text:
            raise JobError(f"{setting!r} has no value; write path=value, e.g. learn.epochs=5")
        changes[path] = _value(path, text)
    return _replaced(job, changes)


def field(path: str, value: Any) -> Any:
    """`value` as the field at `path` holds it, whatever the other fields say. Raises JobError."""
    return _checked(path, value)


def varied(job: Job, values: Mapping[str, Any]) -> Job:
    """`job` with some fields as `field` gave them: what `from_dict` makes, thirty times as fast. Raises JobError."""
    if "flow" in values:
        return _replaced(job, values)
    parts: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        _check_flow(path, job.flow)
        head, _, leaf = path.rpartition(".")
        parts.setdefault(head, {})[leaf] = value
    tops = parts.pop("", {})
    made = msgspec.structs.replace(
        job, **tops, **{head: msgspec.structs.replace(getattr(job, head), **leaves) for head, leaves in parts.items()}
    )
    checks.together(made)
    return made


def changed(job: Job, path: str, value: Any) -> Job:
    """`job` with another value of a field that may change while a run goes on. Raises JobError."""
    if path in _annotations() and (when := str((_parts(_annotations()[path])[1].extra or {})["when"])) == RESTART:
        raise JobError(f"{path} takes effect at a {when}: stop, and start another run with --set {path}=...")
    return _replaced(job, {path: value})


def smoke(job: Job) -> Job:
    """A few seconds' worth of `job`: synthetic data, one or two epochs of every stage, no comparison runs.

    Large models get few channels, and nothing is compiled that a first run would not need anyway.
    """
    short: dict[str, Any] = {"name": "smoke", "learn.epochs": min(job.learn.epochs, 1)}
    short |= {"upkeep.hours": min(job.upkeep.hours, 2 * job.upkeep.every)}
    if job.model.name.startswith(("cnn-l", "vgg", "resnet")):
        short |= {"model.width": min(job.model.width, 0.0625), "model.input": ()}
    if job.flow == "insitu":
        short |= {"learn.batch": min(job.learn.batch, 64)}
    else:
        short |= {"precision": "float64", "pretrain.epochs": min(job.pretrain.epochs, 1)}
        short |= {"map.compare": False, "map.snapshots": [], "learn.skipped_share": max(job.learn.skipped_share, 0.998)}
        for stage in ("calibrate", "map"):
            epochs = min(_read(job, f"{stage}.epochs"), 2)
            short |= {f"{stage}.epochs": epochs, f"{stage}.polish": epochs // 2, f"{stage}.order": "published"}
    if job.data.name in get_args(Picture):
        short["data.name"] = "synthetic"
    return _replaced(job, short)


# ----------------------------------------------------------------------------------------------- reading a job


def value(job: Job, path: str) -> Any:
    """The value of the field at `path`."""
    return _read(job, path)


def differences(a: Job, b: Job) -> list[str]:
    """The dotted paths at which two jobs differ, in what the first one's flow uses."""
    return [path for path in _annotations() if _used(path, a.flow) and _read(a, path) != _read(b, path)]


def describe(job: Job) -> list[Field]:
    """Every field that the flow of `job` uses with its value, unit, range and meaning, section by section."""
    rows = []
    for path, annotation in _annotations().items():
        if not _used(path, job.flow):
            continue
        kind, meta = _parts(annotation)
        told = _unit(meta), _range(kind, meta), meta.description or "", str((meta.extra or {})["when"])
        rows.append(Field(path, _read(job, path), *told, meta.ge, meta.le))
    return rows


# --------------------------------------------------------------------------------------------------- the checks


@cache
def _sections() -> dict[str, type[Section]]:
    return {k: v for k, v in get_type_hints(Job).items() if isinstance(v, type) and issubclass(v, Section)}


@cache
def _annotations() -> dict[str, Any]:
    """Dotted path -> annotation of every field."""
    found: dict[str, Any] = {}
    for key, hint in get_type_hints(Job, include_extras=True).items():
        if key in _sections():
            inner = get_type_hints(_sections()[key], include_extras=True)
            found |= {f"{key}.{name}": value for name, value in inner.items()}
        else:
            found[key] = hint
    return found


def _used(path: str, flow: str) -> bool:
    return path.partition(".")[0] not in UNUSED[flow]


def _check_flow(path: str, flow: Any) -> None:
    if path in _annotations() and flow in UNUSED and not _used(path, flow):
        other = next(name for name in UNUSED if _used(path, name))
        raise JobError(f"{path} belongs to flow = {other!r}, and this job's flow is {flow!r}; leave it out")


def _read(job: Job, path: str) -> Any:
    value: Any = job
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _replaced(job: Job, changes: Mapping[str, Any]) -> Job:
    values = to_dict(job)
    for path, value in changes.items():
        if path in _sections():
            raise _not_a_field(path)
        if path not in _annotations():
            raise _unknown(path)
        _check_flow(path, changes.get("flow", job.flow))
        head, _, leaf = path.rpartition(".")
        (values.setdefault(head, {}) if head else values)[leaf] = value
    if values["flow"] != job.flow:
        for section in UNUSED.get(values["flow"], ()):
            values.pop(section, None)
    return from_dict(values)


def _value(path: str, text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
        if len(parsed) == 1:
            return parsed["value"]
    except tomllib.TOMLDecodeError:
        if re.fullmatch(r"[+-]?(\.\d+|\d+\.)", text):  # .5 and 5. are numbers to everyone but TOML
            return float(text)
        if re.fullmatch(r"[\w./+-]+", text):
            return text
    raise JobError(f"{path} = {text!r} cannot be read; values are numbers, true, false, words, or lists such as [1, 2]")


def _checked(path: str, value: Any) -> Any:
    """`value` as the type of the field at `path`, or a JobError that says what would be right."""
    annotation = _annotations().get(path)
    if annotation is None:
        raise _unknown(path)
    kind, meta = _parts(annotation)
    if path == "model.layers" and value:
        return _layers(value)
    try:
        numbers = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, float)]
        if not all(map(math.isfinite, numbers)):
            raise JobError(f"{path} = {value} is not a finite number; use {_wanted(kind, meta)}")
        result = msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        options = _options(kind)
        if options and isinstance(value, str):
            near = difflib.get_close_matches(value.lower(), options, 1, 0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise JobError(f"{path} = {value!r} is unknown; {hint}use {_wanted(kind, meta)}") from None
        problem = _called(value) if ", got" in str(error) or options else "out of range"
        raise JobError(f"{path} = {_shown(value)} is {problem}; use {_wanted(kind, meta)}") from None
    return result


def _layers(value: Any) -> Any:
    """The layers of a model, or a JobError that says which is wrong and how."""
    try:
        return msgspec.convert(value, get_type_hints(Model)["layers"])
    except msgspec.ValidationError as error:
        where = str(error).replace("`$", "`layers").replace("Object contains", "it has")
        cure = "a layer is a table such as {type = 'Linear', out = 10, k = 9}"
        raise JobError(f"model.layers cannot be read: {where}; {cure}") from None


def _unknown(path: str) -> JobError:
    paths = list(_annotations())
    leaf = path.rpartition(".")[2]
    same = [known for known in paths if known.rpartition(".")[2] == leaf]  # the section is missing or a wrong one
    near = difflib.get_close_matches(path, paths, 1, 0.7) if "." in path or not same else same
    near = near or same or difflib.get_close_matches(path, paths, 1, 0.5)
    cure = f"did you mean {' or '.join(near)}?" if near else "`l2sim presets --explain` lists every field"
    return JobError(f"there is no field {path}; {cure}")


def _not_a_field(section: str) -> JobError:
    example = next(path for path in _annotations() if path.startswith(f"{section}."))
    return JobError(f"{section} is a section; set one of its fields, e.g. {example}")


# ---------------------------------------------------------------------------------------------- words for people


def _parts(annotation: Any) -> tuple[Any, msgspec.Meta]:
    """Type and meaning of a field, without the None of those left to a preset."""
    if get_origin(annotation) is not Annotated:
        annotation = next(option for option in get_args(annotation) if option is not type(None))
    kind, meta = get_args(annotation)
    return kind, meta


def _unit(meta: msgspec.Meta) -> str:
    return str((meta.extra or {})["unit"])


def _options(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _number(value: float) -> str:
    if value == 2**32 - 1:
        return "2^32 - 1"
    for factor, name in ((1, "pi"), (2, "2 pi")):
        if value == factor * math.pi:
            return name
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _range(kind: Any, meta: msgspec.Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f"{_number(meta.ge)} to {_number(meta.le)}"
    if kind is bool:
        return "true, false"
    return ", ".join(_options(kind))


def _wanted(kind: Any, meta: msgspec.Meta) -> str:
    """What would have been right, in words."""
    if _options(kind):
        return f"one of {_range(kind, meta)}"
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text in quotes"
    if get_origin(kind) is tuple and get_args(kind)[0] in (int, float):
        return "a list of whole numbers, e.g. [20, 100]" if get_args(kind)[0] is int else "a list of numbers"
    noun = "a whole number" if kind is int else "a number"
    return f"{noun} from {_range(kind, meta)}" + (f" ({_unit(meta)})" if _unit(meta) else "")


def _called(value: Any) -> str:
    names: tuple[tuple[type, str], ...] = (
        (bool, "true/false"),
        (int, "a whole number"),
        (float, "a number with a fraction"),
        (str, "text"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "of the wrong type")


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
