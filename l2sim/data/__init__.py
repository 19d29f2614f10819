"""Where do samples come from: data sets, their formats, and how they become light."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2sim.faces import lazy

if TYPE_CHECKING:
    from l2sim.data.as_light import dataset as dataset
    from l2sim.data.published import fetch as fetch
    from l2sim.data.published import list_sets as list_sets
    from l2sim.data.sets import DataSet as DataSet
    from l2sim.data.sets import load as load

__all__ = ["DataSet", "dataset", "fetch", "list_sets", "load"]
__getattr__, __dir__ = lazy(
    __name__,
    {"DataSet": "sets", "dataset": "as_light", "fetch": "published", "list_sets": "published", "load": "sets"},
)
