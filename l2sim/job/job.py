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
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from l2sim.errors import JobError
from l2sim.job import checks, presets
from l2sim.job.flows import FLOWS
from l2sim.job.sections import RESTART, Model, Picture, Section
from l2sim.job.settings import Settings
from l2sim.plugins import CURE

Part = TypeVar("Part", bound=Section)


class Job(Settings, frozen=True):
    """What a run computes. Made by `load`, `Job.preset` or `from_dict`, which validate it."""

    @staticmethod
    def preset(name: str, overrides: Mapping[str, object] | None = None) -> Job:
        """The preset `name` with some fields changed, e.g. `Job.preset("digits", {"learn.epochs": 5})`."""
        if not isinstance(overrides, Mapping | None):
            raise JobError('changes of a preset are a table of fields and values, such as {"learn.epochs": 5}')
        return _replaced(from_dict(presets.get(name).values), overrides or {})


class Field(NamedTuple):
    """One field of a job as people read it. `when` a change takes effect while a run goes on: live, next epoch, or
    restart: not before another run."""

    path: str
    value: object
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
    if text in presets.PRESETS.known:
        return Job.preset(text)
    if path.is_dir():
        raise JobError(f"{path} is a folder; name a preset or a file, e.g. {path / 'job.toml'}")
    if not path.exists() and path.suffix != ".toml" and len(path.parts) == 1:
        return Job.preset(text)  # of others; else it raises, with the nearest preset
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
    import tomli_w  # late: only where a job is written

    return tomli_w.dumps(to_dict(job))


def from_dict(values: Mapping[str, object]) -> Job:
    """The job of nested plain values, every one checked. Raises JobError naming the field, its range and unit."""
    flow = values.get("flow", "l2ight")
    _checked("flow", flow)
    flat = presets.defaults(FLOWS[str(flow)].preset)
    for key, value in values.items():
        section = sections().get(key)
        if section is None:
            if key not in _annotations():
                raise _unknown(f"{key}.{next(iter(value))}" if isinstance(value, dict) and value else key)
            flat[key] = value
        elif isinstance(value, Mapping):
            flat |= _flat(key, value)
        else:
            raise _not_a_field(key)
    job = msgspec.convert(_nested({path: _checked(path, value, str(flow)) for path, value in flat.items()}), Job)
    _check(job)
    return job


def _flat(head: str, section: Mapping[str, object]) -> dict[str, object]:
    """The values of a section, and of those in it, by dotted path. JobError where one of these is no section."""
    values: dict[str, object] = {}
    for name, value in section.items():
        path = f"{head}.{name}"
        if path not in sections():
            values[path] = value
        elif isinstance(value, Mapping):
            values |= _flat(path, value)
        else:
            raise _not_a_field(path)
    return values


def _nested(flat: Mapping[str, object]) -> dict[str, Any]:
    """Values by dotted path as sections of values."""
    parts: dict[str, Any] = {}
    for path, value in flat.items():
        *heads, leaf = path.split(".")
        here = parts
        for head in heads:
            here = here.setdefault(head, {})
        here[leaf] = value
    return parts


def _check(job: Job) -> None:
    checks.together(job)
    FLOWS[job.flow].check(job)


def to_dict(job: Job) -> dict[str, object]:
    """`job` as nested plain values, without other flows' sections and the fields left to a preset of the chip."""
    values: dict[str, object] = msgspec.to_builtins(job)
    return _set({key: value for key, value in values.items() if _used(key, job.flow)})


def _set(values: Mapping[str, object]) -> dict[str, object]:
    """`values` without those that are None, and without sections that are all None."""
    known = {key: _set(value) if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in known.items() if value is not None and value != {}}


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


def field(path: str, value: object) -> object:
    """`value` as the field at `path` holds it, whatever the other fields say. Raises JobError."""
    return _checked(path, value)


def varied(job: Job, values: Mapping[str, object]) -> Job:
    """`job` with some fields as `field` gave them: what `from_dict` makes, thirty times as fast. Raises JobError."""
    if "flow" in values:
        return _replaced(job, values)
    for path in values:
        _check_flow(path, job.flow)
    made = _with(job, _nested(values))
    _check(made)
    return made


def _with(section: Part, values: Mapping[str, Any]) -> Part:
    """A section with other `values`, also of sections in it."""
    return msgspec.structs.replace(
        section,
        **{
            name: _with(getattr(section, name), value) if isinstance(value, dict) else value
            for name, value in values.items()
        },
    )


def changed(job: Job, path: str, value: object) -> Job:
    """`job` with another value of a field that may change while a run goes on. Raises JobError."""
    if path in _annotations() and when(path) == RESTART:
        raise JobError(f"{path} takes effect at a {RESTART}: stop, and start another run with --set {path}=...")
    return _replaced(job, {path: value})


def when(path: str) -> str:
    """When a change of the field at `path` takes effect while a run goes on (`sections`)."""
    return str((_parts(_annotations()[path])[1].extra or {})["when"])


def smoke(job: Job) -> Job:
    """A few seconds' worth of `job`: synthetic data, one or two epochs of every stage, no comparison runs.

    Large models get few channels, and nothing is compiled that a first run would not need anyway.
    """
    short: dict[str, object] = {
        "name": "smoke",
        "learn.epochs": min(job.learn.epochs, 1),
        "upkeep.hours": min(job.upkeep.hours, 2 * job.upkeep.every),
    }
    if job.data.name in get_args(Picture):
        short["data.name"] = "synthetic"
    short |= FLOWS[job.flow].trial(job)
    return _replaced(job, {path: value for path, value in short.items() if _used(path, job.flow)})


# ----------------------------------------------------------------------------------------------- reading a job


def value(job: Job, path: str) -> object:
    """The value of the field at `path`."""
    part: object = job
    for name in path.split("."):
        part = getattr(part, name)
    return part


def differences(a: Job, b: Job) -> list[str]:
    """The dotted paths at which two jobs differ, in what the first one's flow uses."""
    return [path for path in _annotations() if _used(path, a.flow) and value(a, path) != value(b, path)]


def describe(job: Job) -> list[Field]:
    """Every field that the flow of `job` uses with its value, unit, range and meaning, section by section."""
    rows = []
    for path, annotation in _annotations().items():
        if _used(path, job.flow):
            kind, meta = _parts(annotation)
            about = _unit(meta), _range(kind, meta), meta.description or "", when(path)
            rows.append(Field(path, value(job, path), *about, meta.ge, meta.le))
    return rows


# --------------------------------------------------------------------------------------------------- the checks


@cache
def sections() -> dict[str, type[Section]]:
    """The sections of a job by dotted path, those in others too."""

    def within(kind: type[Section], head: str) -> dict[str, type[Section]]:
        own = {f"{head}{name}": hint for name, hint in get_type_hints(kind).items()}
        parts = {path: hint for path, hint in own.items() if isinstance(hint, type) and issubclass(hint, Section)}
        return parts | {path: inner for part in parts for path, inner in within(parts[part], f"{part}.").items()}

    return within(Job, "")


@cache
def _annotations() -> dict[str, object]:
    """Dotted path -> annotation of every field."""


    def within(kind: type[Section], head: str) -> Iterator[tuple[str, object]]:
        for name, hint in get_type_hints(kind, include_extras=True).items():
            path = f"{head}{name}"
            if path in sections():
                yield from within(sections()[path], f"{path}.")
            else:
                yield path, hint

    return dict(within(Job, ""))


def _used(path: str, flow: str) -> bool:
    head = path.partition(".")[0]
    return head not in sections() or head in FLOWS[flow].sections


def _check_flow(path: str, flow: str) -> None:
    if path in _annotations() and not _used(path, flow):
        other = next(name for name in FLOWS if _used(path, name))
        raise JobError(f"{path} belongs to flow = {other!r}, and this job's flow is {flow!r}; leave it out")


def _replaced(job: Job, changes: Mapping[str, object]) -> Job:
    """`job` with other values by dotted path. With another flow, it loses the sections that this one does not use."""
    values: dict[str, Any] = deepcopy(to_dict(job))
    flow = changes.get("flow", job.flow)
    for path, value in changes.items():
        if path in sections():
            raise _not_a_field(path)
        if path not in _annotations():
            raise _unknown(path)
        _checked("flow", flow)
        _check_flow(path, str(flow))
        *heads, leaf = path.split(".")
        here = values
        for head in heads:
            here = here.setdefault(head, {})
        here[leaf] = value
    return from_dict({key: value for key, value in values.items() if _used(key, str(flow))})


def _value(path: str, text: str) -> object:
    try:
        parsed: dict[str, object] = tomllib.loads(f"value = {text}")
        if len(parsed) == 1:
            return parsed["value"]
    except tomllib.TOMLDecodeError:
        if re.fullmatch(r"[+-]?(\.\d+|\d+\.)", text):  # .5 and 5. are numbers to everyone but TOML
            return float(text)
        if re.fullmatch(r"[\w./+-]+", text):
            return text
    raise JobError(f"{path} = {text!r} cannot be read; values are numbers, true, false, words, or lists such as [1, 2]")


def _checked(path: str, value: object, flow: str = "") -> object:
    """`value` as the type of the field at `path`, which `flow` uses; or a JobError that says what would be right."""
    annotation = _annotations().get(path)
    if annotation is None:
        raise _unknown(path)
    if flow:
        _check_flow(path, flow)
    kind, meta = _parts(annotation)
    if path == "model.layers" and value:
        return _layers(value)
    among = _among(meta)
    if among is not None and isinstance(value, str) and value not in among:
        raise _no_option(path, value, kind, meta)
    try:
        numbers = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, float)]
        if not all(map(math.isfinite, numbers)):
            raise JobError(f"{path} = {value} is not a finite number; use {_wanted(kind, meta)}")
        result: object = msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        options = _options(kind, meta)
        if options and isinstance(value, str):
            raise _no_option(path, value, kind, meta) from None
        problem = _called(value) if ", got" in str(error) or options else "out of range"
        raise JobError(f"{path} = {_shown(value)} is {problem}; use {_wanted(kind, meta)}") from None
    return result


def _no_option(path: str, value: str, kind: object, meta: msgspec.Meta) -> JobError:
    near = difflib.get_close_matches(value.lower(), _options(kind, meta), 1, 0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    cure = f", {CURE}" if _among(meta) is not None else ""
    return JobError(f"{path} = {value!r} is unknown; {hint}use {_wanted(kind, meta)}{cure}")


def _layers(value: object) -> object:
    """The layers of a model, or a JobError that says which is wrong and how."""
    try:
        layers: object = msgspec.convert(value, get_type_hints(Model)["layers"])
    except msgspec.ValidationError as error:
        where = str(error).replace("`$", "`layers").replace("Object contains", "it has")
        cure = "a layer is a table such as {type = 'Linear', out = 10, k = 9}"
        raise JobError(f"model.layers cannot be read: {where}; {cure}") from None
    return layers


def _unknown(path: str) -> JobError:
    paths = list(_annotations())
    leaf = path.rpartition(".")[2]
    same = [known for known in paths if known.rpartition(".")[2] == leaf]  # the section is missing or a wrong one
    same = [known for known in same if known.count(".") < 2] or same  # what is believed has the names of what is
    near = difflib.get_close_matches(path, paths, 1, 0.7) if "." in path or not same else same
    near = near or same or difflib.get_close_matches(path, paths, 1, 0.5)
    cure = f"did you mean {' or '.join(near)}?" if near else "`l2sim presets --explain` lists every field"
    return JobError(f"there is no field {path}; {cure}")


def _not_a_field(section: str) -> JobError:
    example = next(path for path in _annotations() if path.startswith(f"{section}."))
    return JobError(f"{section} is a section; set one of its fields, e.g. {example}")


# ---------------------------------------------------------------------------------------------- words for people


def _parts(annotation: object) -> tuple[object, msgspec.Meta]:
    """Type and meaning of a field, without the None of those left to a preset."""
    if get_origin(annotation) is not Annotated:
        annotation = next(option for option in get_args(annotation) if option is not type(None))
    kind, meta = get_args(annotation)
    return kind, meta


def _unit(meta: msgspec.Meta) -> str:
    return str((meta.extra or {})["unit"])


def _among(meta: msgspec.Meta) -> Collection[str] | None:
    """The names that a field chooses from, where these are registered."""
    names: Collection[str] | None = (meta.extra or {})["among"]
    return names


def _options(kind: object, meta: msgspec.Meta) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else tuple(_among(meta) or ())


def _number(value: float) -> str:
    if value == 2**32 - 1:
        return "2^32 - 1"
    for factor, name in ((1, "pi"), (2, "2 pi")):
        if value == factor * math.pi:
            return name
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _range(kind: object, meta: msgspec.Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f"{_number(meta.ge)} to {_number(meta.le)}"
    if kind is bool:
        return "true, false"
    return ", ".join(_options(kind, meta))


def _wanted(kind: object, meta: msgspec.Meta) -> str:
    """What would have been right, in words."""
    if _options(kind, meta):
        return f"one of {_range(kind, meta)}"
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text in quotes"
    if get_origin(kind) is tuple and get_args(kind)[0] in (int, float):
        return "a list of whole numbers, e.g. [20, 100]" if get_args(kind)[0] is int else "a list of numbers"
    noun = "a whole number" if kind is int else "a number"
    return f"{noun} from {_range(kind, meta)}" + (f" ({_unit(meta)})" if _unit(meta) else "")


def _called(value: object) -> str:
    names: tuple[tuple[type, str], ...] = (
        (bool, "true/false"),
        (int, "a whole number"),
        (float, "a number with a fraction"),
        (str, "text"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "of the wrong type")


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
