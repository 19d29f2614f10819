"""The errors l2sim raises on purpose.

Each message is one line: what is wrong, where, and the cure. The command line prints it and exits with 2.
"""

from __future__ import annotations


class L2simError(Exception):
    """Base of every error that l2sim raises on purpose; `except l2sim.errors.L2simError` catches them all."""


class JobError(L2simError):
    """A job, preset or setting that cannot be run."""


class DataError(L2simError):
    """A data set that is missing, truncated, or not what it says it is."""


class RunError(L2simError):
    """A run folder that cannot be written, read or resumed."""


class ChipError(L2simError):
    """A request that a chip cannot carry out: wrong shape, missing readout, unknown query of a recording."""


class NotFinite(ChipError):
    """A chip was given values that are not finite, or too large to compute with."""


class Diverged(RunError):
    """Training whose loss or weights exploded or are not finite; what was reached before is kept."""


class ModelError(L2simError):
    """A model description that does not fit together."""


class PluginError(L2simError):
    """Code of others that cannot be imported, or that registers what is there already."""
