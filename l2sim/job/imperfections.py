"""The non-idealities that a job gives its chips: a section of the same fields, and what they come to.

The section is made from the declaration in `l2sim.chip.nonidealities`: the same names, units, ranges and meanings,
every field None where the job leaves it to the preset `base`.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, get_args

import msgspec

from l2sim.chip import nonidealities as chips
from l2sim.job.sections import LIVE, Section, said

if TYPE_CHECKING:

    class Nonidealities(Section, frozen=True):
        """What the type checker sees of the section below."""

        base: str = "l2ight-2021"

else:

    def _optional(name, annotation):
        """The field of the job for one of the chip: None where it is not set."""
        kind, meta = get_args(annotation)
        declared = said(meta.description, meta.extra["unit"], meta.ge, meta.le, LIVE)
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


class Imperfect(Protocol):
    """A job, as far as its chips are concerned."""

    @property
    def nonidealities(self) -> Nonidealities:
        """The section of its non-idealities."""
        ...


def chosen(section: Nonidealities) -> dict[str, Any]:
    """The fields of the section that are set, by name: the departures from its `base`."""
    return {name: value for name in chips.declared() if (value := getattr(section, name)) is not None}


def chip_nonidealities(job: Imperfect) -> chips.Nonidealities:
    """The non-idealities of the job's preset with what the job sets apart. ChipError where they contradict."""
    return _of_section(job.nonidealities)


@lru_cache(maxsize=64)
def _of_section(section: Nonidealities) -> chips.Nonidealities:
    """Kept, since it is asked for at every click and checks every field."""
    return msgspec.structs.replace(chips.PRESETS[section.base], **chosen(section))


def of_base(job: Imperfect, path: str) -> object:
    """What the job's preset of non-idealities gives the field at the dotted `path`, whatever the job sets; None of the
    fields that it gives nothing."""
    section, _, name = path.partition(".")
    known = section == "nonidealities" and name in chips.declared()
    return getattr(chips.PRESETS[job.nonidealities.base], name) if known else None


def effective(job: Imperfect, path: str) -> object:
    """The value in force of the field at the dotted `path`: of a non-ideality that the job leaves to its preset, the
    preset's."""
    value: object = reduce(getattr, path.split("."), job)
    section, _, name = path.partition(".")
    return getattr(chip_nonidealities(job), name) if value is None and section == "nonidealities" else value
