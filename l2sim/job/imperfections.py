"""The non-idealities that a job gives its chips: a section of the same fields, and what they come to.

The section is made from the declaration in `l2sim.chip.nonidealities`: the same names, units, ranges and meanings,
every field None where the job leaves it to the preset `base`.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, get_args

import msgspec

from l2sim.chip import nonidealities as chips
from l2sim.job import sections
from l2sim.job.sections import LIVE, RESTART, Section, said

BUILT = ("devices", "phi")
"""What a chip is built of, which nobody can believe to be otherwise."""

if TYPE_CHECKING:

    class Sheet(Section, frozen=True):
        """What the type checker sees of the section below."""

    class Nonidealities(Section, frozen=True):
        """What the type checker sees of the section below."""

        base: str = "l2ight-2021"

else:

    def _optional(name, annotation, when=LIVE, before=""):
        """The field of the job for one of the chip: None where it is not set."""
        kind, meta = get_args(annotation)
        declared = said(before + meta.description, meta.extra["unit"], meta.ge, meta.le, when)
        return name, Annotated[kind, declared] | None, None

    _BASE = Annotated[Literal[tuple(chips.PRESETS)], said("the preset that fields left out take their value from")]
    Nonidealities = msgspec.defstruct(
        "Nonidealities",
        [("base", _BASE, "l2ight-2021"), *(_optional(*field) for field in chips.declared().items())],
        bases=(Section,),
        module=__name__,
        frozen=True,
        namespace={
            "__doc__": "Which chip is fabricated: a cited preset, and what departs from it. None keeps that of `base`."
        },
    )
    Sheet = msgspec.defstruct(
        "Sheet",
        [_optional(*field, RESTART, "believed: ") for field in chips.declared().items() if field[0] not in BUILT],
        bases=(Section,),
        module=__name__,
        frozen=True,
        namespace={
            "__doc__": "The data sheet: what whoever calibrates believes of the chip. None: as it really is."
        },
    )


class Calibrate(sections.Calibrate, frozen=True):
    """With what is believed of the chips."""

    sheet: Sheet = Sheet()


class Imperfect(Protocol):
    """A job, as far as its chips are concerned."""

    @property
    def nonidealities(self) -> Nonidealities:
        """The section of its non-idealities."""
        ...


def chosen(section: Nonidealities) -> dict[str, Any]:
    """The fields of the section that are set, by name: the departures from its `base`."""
    return {name: value for name in chips.declared() if (value := getattr(section, name)) is not None}


class Believing(Imperfect, Protocol):
    """A job, as far as its chips and their data sheet are concerned."""

    @property
    def calibrate(self) -> Calibrate:
        """The section with the data sheet."""
        ...


def data_sheet(job: Believing) -> chips.Nonidealities:
    """What is believed of the job's chips: what they really have, but for what `calibrate.sheet` says. Whoever
    calibrates a chip is given this, and never the chip's own. ChipError where it contradicts itself."""
    return _believed(job.nonidealities, job.calibrate.sheet)


@lru_cache(maxsize=64)
def _believed(section: Nonidealities, sheet: Sheet) -> chips.Nonidealities:
    said_of_it = {name: value for name in chips.declared() if (value := getattr(sheet, name, None)) is not None}
    return msgspec.structs.replace(_of_section(section), **said_of_it)


def chip_nonidealities(job: Imperfect) -> chips.Nonidealities:
    """The non-idealities of the job's preset with what the job sets apart. ChipError where they contradict."""
    return _of_section(job.nonidealities)


@lru_cache(maxsize=64)
def _of_section(section: Nonidealities) -> chips.Nonidealities:
    """Kept, since it is asked for at every click and checks every field."""
    return msgspec.structs.replace(chips.PRESETS[section.base], **chosen(section))


def of_base(job: Imperfect, path: str) -> object:
    """What a field at the dotted `path` is where the job does not set it: of a non-ideality what the job's preset of
    these gives it, of the data sheet what the chip has; None of other fields."""
    section, _, name = path.rpartition(".")
    if section == "calibrate.sheet":
        return getattr(chip_nonidealities(job), name)
    known = section == "nonidealities" and name in chips.declared()
    return getattr(chips.PRESETS[job.nonidealities.base], name) if known else None


def effective(job: Imperfect, path: str) -> object:
    """The value in force of the field at the dotted `path`: of a non-ideality that the job leaves to its preset, the
    preset's."""
    value: object = reduce(getattr, path.split("."), job)
    section, _, name = path.partition(".")
    return getattr(chip_nonidealities(job), name) if value is None and section == "nonidealities" else value
