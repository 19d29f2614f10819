"""Which scalar series belong in one plot, and what the plot is called. No Qt here."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

AUTOMATIC = "Automatic"


class Quantity(NamedTuple):
    """Series that share an axis. `log` is how the axis starts."""

    title: str
    pattern: str
    log: bool = False


QUANTITIES = (
    Quantity("Loss (nat)", r"(pretrain|deploy|learn|map)/(test_|train_|validation_)?loss", True),
    Quantity("Accuracy (0 to 1)", r".*accuracy"),
    Quantity("Search loss (calibrate)", r"calibrate/(loss|best.*)", True),
    Quantity("Search loss (map)", r"map/(loss|best.*)", True),
    Quantity("Identity error, oracle", r".*/oracle_identity_error.*", True),
    Quantity("Mapping error, relative, oracle", r".*/oracle_mapping_error", True),
    Quantity("Gradient error 1 - cos, oracle", r".*/oracle_gradient_error.*", True),
    Quantity("Gradient angle to the true one (rad), oracle", r".*/oracle_gradient_angle.*"),
    Quantity("Gradient distance to the true one, oracle", r".*/oracle_gradient_distance.*", True),
    Quantity("Learning rate", r".*/lr", True),
    Quantity("Evaluations", r".*/evaluations"),
    Quantity("Energy on the chips (J), estimated", r".*/energy_j"),
    Quantity("Chip time (s), estimated", r".*/chip_s"),
    Quantity("Clock of the chips (s), estimated", r".*/clock_s"),
)
_LEADING = {"calibrate": (2, 4), "map": (3, 5)}
"""What is looked at first in a stage: places in the list above. Elsewhere loss and accuracy."""

_COLOURS = {
    "loss": 0, "test_loss": 1, "validation_loss": 3, "train_loss": 4,
    "accuracy": 2, "test_accuracy": 6, "validation_accuracy": 5, "train_accuracy": 7, "best": 1,
}  # fmt: skip
"""Places among the colours of curves that never change, from run to run and from stage to stage."""


def kind(series: str) -> str:
    """What a series is of, whatever its stage: "loss" of "learn/loss"."""
    return series.rpartition("/")[2]


def stage(series: str) -> str:
    """The stage of a series, "" where it has none."""
    return series.rpartition("/")[0]


def colours(kinds: Iterable[str], many: int) -> dict[str, int]:
    """The place of each kind of one plot among so many colours: those above, others by their name, the next free one
    where two names meet."""
    chosen: dict[str, int] = {}
    for name in sorted(kinds, key=lambda name: (name not in _COLOURS, name)):
        place = _COLOURS.get(name, zlib.crc32(name.encode())) % many
        free = [(place + i) % many for i in range(many) if (place + i) % many not in chosen.values()]
        chosen[name] = free[0] if free else place
    return chosen


def kind_in_words(kind: str) -> str:
    """What a legend calls the last part of a series' name."""
    lowest, _, percent = kind.partition("_p")
    if lowest == "best":
        return "lowest so far" + (f", {percent} % of cores" if percent else "")
    return kind.replace("_", " ")


def matching(quantity: Quantity, series: list[str]) -> list[str]:
    """The series of a quantity. Of `map`, `loss` is the search's and `test_loss` is of the network."""
    names = [name for name in series if re.fullmatch(quantity.pattern, name)]
    return [name for name in names if name != "map/loss"] if quantity.title.startswith("Loss") else names


def present(series: list[str]) -> list[Quantity]:
    """The quantities that a run has, and one more for every kind of series that none of them knows."""
    quantities = [quantity for quantity in QUANTITIES if matching(quantity, series)]
    known = {name for quantity in quantities for name in matching(quantity, series)}
    others = sorted({kind(name) for name in series if name not in known})
    return quantities + [Quantity(name.replace("_", " "), rf"(.*/)?{re.escape(name)}") for name in others]


def leading(stage: str, series: list[str]) -> list[Quantity]:
    """The two quantities to look at in a stage."""
    wanted = [QUANTITIES[i] for i in _LEADING.get(stage, (0, 1))]
    first = [quantity for quantity in wanted if matching(quantity, series)]
    return (first + [quantity for quantity in present(series) if quantity not in first])[:2]
