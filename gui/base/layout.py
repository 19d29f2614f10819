"""Where panels stand, which theme is on and what was open: kept in one small file between starts.

The file is JSON with a version. It is written whole (a new file renamed over the old one, which stays as `.bak`), and
read with suspicion: whatever is damaged is left out with one line about it, never a window that does not open.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from l2sim import files

VERSION = 1
"""Of the file. Another one is not read: docks may have other names."""
_FORMAT = "l2sim-layout"
RECENT = 12


def folder() -> Path:
    """Where the window keeps its file: XDG_CONFIG_HOME/l2sim, ~/.config/l2sim."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "l2sim"


class Kept:
    """What the file holds. `said` is one line about what could not be read, or ""."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.said = ""

    def read(self) -> Kept:
        """Take in the file, or its backup where it is damaged."""
        path, problems = folder() / "window.json", []
        for candidate in (path, path.with_suffix(".json.bak")):
            try:
                values = json.loads(candidate.read_text(encoding="utf-8"))
                if values["format"] != _FORMAT:
                    raise ValueError("it is of something else")
                if values["version"] != VERSION:
                    raise ValueError(f"its version is {values['version']}, not {VERSION}")
                self.values = values
                break
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError) as error:
                reason = error.strerror if isinstance(error, OSError) else _reason(error)
                problems.append(f"{candidate} cannot be used: {reason}")
        if problems:
            self.said = f"{problems[0]}; " + ("its backup was used" if self.values else "the layout starts anew")
        return self

    def write(self) -> None:
        """Write the file; OSError where that is impossible."""
        path = folder() / "window.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and self._whole(path):
            files.write(path.with_suffix(".json.bak"), path.read_bytes())
        files.write(path, json.dumps(self.values | {"format": _FORMAT, "version": VERSION}, indent=1).encode())

    @staticmethod
    def _whole(path: Path) -> bool:
        try:
            return bool(json.loads(path.read_text(encoding="utf-8"))["version"] == VERSION)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def bytes(self, name: str) -> bytes:
        """A value that Qt wrote, b"" where there is none or it is damaged."""
        try:
            return base64.b64decode(self.text(name), validate=True)
        except ValueError:
            return b""

    def keep(self, **values: object) -> None:
        """Set values; bytes are kept as text."""
        for name, value in values.items():
            self.values[name] = base64.b64encode(value).decode() if isinstance(value, bytes) else value

    def text(self, name: str) -> str:
        """A value that is text, "" where there is none or it is something else."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    @property
    def recent(self) -> list[Path]:
        """Runs opened before, newest first."""
        paths = self.values.get("recent", [])
        return [Path(text) for text in paths if isinstance(text, str)] if isinstance(paths, list) else []

    def opened(self, run: Path) -> None:
        """Put a run first among the recent ones."""
        path = run.resolve()
        self.values["recent"] = [str(p) for p in [path, *(p for p in self.recent if p != path)]][:RECENT]


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "it is damaged"
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)
