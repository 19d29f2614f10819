"""JSON at the door: what a file or a message says becomes a Struct, or is refused."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Newer(Exception):
    """What is read has the version `number`, which this l2sim does not know."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Version(msgspec.Struct):
    version: int


def parsed(text: str | bytes, of: type[T]) -> T:
    """The JSON `text`, in which NaN may stand, as an `of`. ValueError where it is none."""
    try:
        return msgspec.convert(json.loads(text), of)
    except RecursionError:
        raise ValueError("nested too deep") from None


def versioned(text: str | bytes, of: type[T], newest: int) -> T:
    """The same of a text with a `version`. Raises `Newer` where that is above `newest`, whatever else the text says."""
    if (number := parsed(text, _Version).version) > newest:
        raise Newer(number)
    return parsed(text, of)
