"""Where the workers of a sweep come from: the section `[cluster]` of its file (docs/sweeps.md)."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Callable
from types import ModuleType
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from l2sim.errors import JobError, RunError

KINDS = {
    "local": ("distributed", "LocalCluster", '"l2sim[cluster]"', ""),
    "slurm": ("dask_jobqueue", "SLURMCluster", "dask-jobqueue", ""),
    "kubernetes": ("dask_kubernetes.operator", "KubeCluster", "dask-kubernetes", ""),
    "ssh": ("distributed", "SSHCluster", "distributed asyncssh", "asyncssh"),
}
"""Module and class of each kind, what to install for it, and what it needs besides."""
TIMEOUT = 10.0
"""Seconds that a scheduler has to answer."""


def connect(address: str) -> Client:
    """A client of the scheduler at `address`. RunError, soon, where none answers."""
    distributed = _module("distributed", "--scheduler", '"l2sim[cluster]"')
    quiet()
    cure = "start one with `dask scheduler`, or correct the address, e.g. tcp://127.0.0.1:8786"
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        if parts.scheme == "tcp":  # Dask would try a closed port again and again
            socket.create_connection((parts.hostname or "", parts.port or 8786), TIMEOUT / 2).close()
        client: Client = distributed.Client(address, timeout=TIMEOUT, set_as_default=False)
        return client
    except (OSError, ValueError, TypeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error).partition("\n")[0] or "no answer"
        raise RunError(f"no scheduler answers at {address} ({reason[:120]}); {cure}") from None


class Future(Protocol):
    """What is used of a task that Dask has."""

    key: str
    status: str

    def result(self, timeout: float) -> dict[str, object]:
        """What the task returned, waited for so many seconds; what it raised is raised."""
    def cancel(self) -> None:
        """Run it no more."""
    def add_done_callback(self, call: Callable[[Future], None]) -> None:
        """Have this called when it has ended."""


class Scheduler(Protocol):
    """Where a client's scheduler is."""

    address: str


class Client(Protocol):
    """What is used of a client of Dask."""

    status: str
    scheduler: Scheduler

    def run(self, call: Callable[..., object], *arguments: object, on_error: str) -> dict[str, object]:
        """What this returns on every worker, by address."""
    def submit(self, call: Callable[..., object], *arguments: object, **options: object) -> Future:
        """Have a worker call this."""
    def scatter(self, content: list[dict[str, bytes]], hash: bool) -> list[Future]:
        """Have content lie on a worker."""
    def nthreads(self) -> dict[str, int]:
        """Threads of every worker, by address."""
    def close(self, timeout: float) -> None:
        """Leave the scheduler."""


class Cluster(Protocol):
    """What is used of the workers that were started."""

    def close(self, timeout: float) -> None:
        """End the workers."""


class Section(msgspec.Struct, frozen=True, omit_defaults=True):
    """The section `[cluster]`: the kind of workers ("": none is named), how many, whether they may use the sweep's
    folder (None: those that see it), and options of the kind."""

    kind: str = ""
    workers: int | None = None
    shared: bool | None = None
    options: dict[str, object] = {}


def start(section: Section, workers: int) -> tuple[Client, Cluster]:
    """A client of the cluster that a section describes, with so many workers, and the cluster. JobError where it cannot
    be had."""
    kind = section.kind or "local"
    module, name, install, besides = KINDS[kind]
    made = getattr(_module(module, f'[cluster] kind = "{kind}"', install), name)
    if besides:
        _module(besides, f'[cluster] kind = "{kind}"', install)
    quiet()
    options = dict(section.options)
    if kind == "local":
        options = {
            "n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL,
        } | options  # fmt: skip
    elif kind == "ssh" and not options.get("hosts"):
        raise JobError('[cluster.options] of kind = "ssh" names no hosts; write hosts = ["scheduler", "worker", ...]')
    try:
        cluster = made(**options)
        if kind == "slurm":
            cluster.scale(jobs=workers)
        elif kind == "kubernetes":
            cluster.scale(workers)
    except Exception as error:  # what these raise is theirs; the user can cure all of it in this section
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise JobError(f'[cluster] kind = "{kind}" cannot be started ({reason}); see [cluster.options]') from None
    distributed = _module("distributed", f'[cluster] kind = "{kind}"', '"l2sim[cluster]"')
    return distributed.Client(cluster, timeout=TIMEOUT, set_as_default=False), cluster


def count(section: Section, threads: int) -> int:
    """How many workers a sweep gets where nobody says: as many as this machine has cores for."""
    return (section.workers or max(1, len(os.sched_getaffinity(0)) // threads))


def quiet() -> None:
    """Dask tells of every lost connection; the sweep says in a line what it means."""
    for name in list(logging.root.manager.loggerDict):  # those below have levels of their own
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio", "bokeh"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _module(name: str, wanted: str, install: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise JobError(f"{wanted} needs {name}; pip install {install}") from None
