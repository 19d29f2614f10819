"""Whole files that are written or not, folders that one process holds, and what it means when a disk refuses."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from l2sim.errors import L2simError, RunError

__all__ = ["Busy", "held", "hold", "refusal", "replacing", "write"]

LOCK = ".lock"
"""The file in a folder that the process which writes there holds."""


ELSEWHERE = "choose another folder with --out"
"""What helps where a run's folder cannot be written."""


class Busy(RunError):
    """A folder in which another process runs."""


@contextmanager
def replacing(path: Path, durable: bool = True, refuse: type[L2simError] | None = None) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends: readers see the old file or the new one.

    If the block fails, the old file stays and nothing is left beside it. `durable` waits for the disk. Where the disk
    refuses, raises OSError, or `refuse` with one line.
    """
    beside = path.with_name(path.name + ".part")
    try:
        with open(beside, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if refuse is not None and isinstance(error, OSError):
            line = refusal(error, path, "choose another place")
            raise refuse(line or f"{path} cannot be written: {error.strerror or error}") from None
        raise


def write(path: Path, content: bytes, durable: bool = True, refuse: type[L2simError] | None = None) -> Path:
    """Put `content` in the place of `path`, as `replacing` does. Returns `path`."""
    with replacing(path, durable, refuse) as file:
        file.write(content)
    return path


def refusal(error: OSError, path: Path | None = None, cure: str = ELSEWHERE) -> str | None:
    """The line for a disk that refuses `path` (default: the file that the error names), and what helps. None for an
    error that only a bug explains."""
    name = path or error.filename
    where = f" {name}" if name else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: cannot write{where}; free some space or {cure}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission for{where}: {error.strerror}; {cure}"
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENAMETOOLONG):
        return f"cannot use{where}: {error.strerror}; {cure}"
    if path is not None and error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{path} cannot be written, there is no folder for it; {cure}"
    if error.errno == errno.EISDIR:
        return f"{name} {'cannot be written, it is a folder' if path else 'is a folder, where a file belongs'}; {cure}"
    return None


def hold(folder: Path) -> IO[str]:
    """Make `folder` if need be and hold it for this process, until the file that is returned is closed. Raises Busy."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / LOCK, "w")  # noqa: SIM115
    for _ in range(5):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError:
            time.sleep(0.02)  # a reader that looks whether a run goes on holds it for an instant
    lock.close()
    raise Busy(f"a run is going on in {folder}; wait for it, stop it, or choose another --out")


def held(folder: Path) -> bool:
    """Whether a process holds `folder`."""
    try:
        with open(folder / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
