"""Every flow by name: what runs it. `register` adds another one (docs/extending.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from l2sim.data.sets import DataSet
from l2sim.errors import PluginError
from l2sim.flow.insitu import export as insitu_export
from l2sim.flow.insitu import session as insitu
from l2sim.flow.insitu import stages as insitu_stages
from l2sim.flow.l2ight import export as l2ight_export
from l2sim.flow.l2ight import session as l2ight
from l2sim.flow.l2ight import stages as l2ight_stages
from l2sim.flow.realised import Exporter
from l2sim.flow.session import Session
from l2sim.job import flows
from l2sim.job.job import Job
from l2sim.job.settings import Declaration
from l2sim.plugins import Registry
from l2sim.store.events import Event

S = TypeVar("S", bound=Session)


class Flow(NamedTuple, Generic[S]):
    """What makes a flow. `declared` is what jobs know of it.

    `open(job, data)` makes the session of a run, from a data set or the folder that data sets lie in. `stages`, by the
    names of `declared.stages`: `stage(session, done)` yields the events of one that has finished `done` epochs before.
    `report` names the module with the parts of its page (`l2sim.report.page.Parts`), imported when a page is made.
    `export` writes and reads its networks; None where `l2sim export` has nothing to write.
    """

    declared: Declaration
    open: Callable[[Job, Path | DataSet | None], S]
    stages: Mapping[str, Callable[[S, int], Iterator[Event]]]
    report: str
    export: Exporter[S] | None = None


FLOWS: Registry[Flow[Any]] = Registry("flow")  # each with a session of its own


def register(name: str, flow: Flow[S]) -> None:
    """Add a flow. PluginError where the name is taken, or stages are declared that it has not."""
    if missing := [stage for stage in flow.declared.stages if stage not in flow.stages]:
        raise PluginError(f"flow {name!r} declares stage {missing[0]!r} and has none of that name; add it")
    if not callable(flow.open) or not all(map(callable, flow.stages.values())):
        raise PluginError(f"flow {name!r} opens a session and has stages that are no functions; give functions")
    if name not in flows.FLOWS.known:
        flows.FLOWS.register(name, flow.declared)
    FLOWS.register(name, flow)


register(
    "l2ight",
    Flow(flows.L2IGHT, l2ight.open_session, l2ight_stages.STAGES, "l2sim.report.l2ight", l2ight_export.EXPORTER),
)
register(
    "insitu",
    Flow(flows.INSITU, insitu.open_session, insitu_stages.STAGES, "l2sim.report.insitu", insitu_export.EXPORTER),
)
