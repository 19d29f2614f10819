"""What the operating system brings for the window: shared libraries and programs, by the Debian package that has them.

Standard library only, since it runs before anything is installed:

    python3 -m l2sim.system window display

installs what is missing with apt-get, saying so, where root runs it; anyone else is shown the line that does.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

__all__ = ["NEEDS", "cure", "main", "missing", "package_of"]

NEEDS: dict[str, dict[str, str]] = {
    "window": {
        "libGL.so.1": "libgl1",
        "libX11.so.6": "libx11-6",
        "libXext.so.6": "libxext6",
        "libgthread-2.0.so.0": "libglib2.0-0",
        "libfontconfig.so.1": "libfontconfig1",
        "libfreetype.so.6": "libfreetype6",
    },
    "display": {
        "libX11-xcb.so.1": "libx11-xcb1",
        "libdbus-1.so.3": "libdbus-1-3",
        "libxkbcommon.so.0": "libxkbcommon0",
        "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
        "libxcb-icccm.so.4": "libxcb-icccm4",
        "libxcb-image.so.0": "libxcb-image0",
        "libxcb-keysyms.so.1": "libxcb-keysyms1",
        "libxcb-randr.so.0": "libxcb-randr0",
        "libxcb-render-util.so.0": "libxcb-render-util0",
        "libxcb-shape.so.0": "libxcb-shape0",
        "libxcb-sync.so.1": "libxcb-sync1",
        "libxcb-xfixes.so.0": "libxcb-xfixes0",
        "libxcb-xinerama.so.0": "libxcb-xinerama0",
        "libxcb-xkb.so.1": "libxcb-xkb1",
    },
    "pyside": {
        "libEGL.so.1": "libegl1",
        "libxkbcommon.so.0": "libxkbcommon0",
        "libxcb-cursor.so.0": "libxcb-cursor0",
    },
    "xvfb": {"xvfb-run": "xvfb", "xauth": "xauth", "xdotool": "xdotool"},
}
"""By use: `window` is what Qt loads even without a display, `display` what it adds to open a window on one, `pyside`
what Qt 6 adds to that, `xvfb` a display where there is none and what presses its keys. Names without `.so` are
programs."""


def missing(*uses: str) -> dict[str, str]:
    """The libraries and programs of these uses that are not here, each with its Debian package."""
    needs = {name: package for use in uses for name, package in NEEDS[use].items()}
    return {name: package for name, package in needs.items() if not _here(name)}


def cure(packages: Iterable[str]) -> str:
    """The line that installs Debian packages."""
    return "apt-get install --no-install-recommends " + " ".join(sorted(set(packages)))


def package_of(text: str) -> str:
    """The Debian package of the shared library that an error of Qt names, "" where it names none of them."""
    needs = {name: package for use in NEEDS.values() for name, package in use.items() if ".so" in name}
    return next((package for name, package in needs.items() if name in text), "")


def _here(name: str) -> bool:
    if ".so" not in name:
        return shutil.which(name) is not None
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def main(uses: list[str]) -> int:
    """Install what these uses lack, or print what does. Returns 0 if all of it is here afterwards, else 1."""
    unknown = [use for use in uses if use not in NEEDS]
    if unknown or not uses:
        print(f"usage: python3 -m l2sim.system USE ..., each one of {', '.join(NEEDS)}", file=sys.stderr)
        return 2
    lacking = missing(*uses)
    if not lacking:
        return 0
    what, line = ", ".join(lacking), cure(lacking.values())
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        who = "sudo " if shutil.which("apt-get") else "no apt-get here; what Debian calls them: "
        print(f"not on this machine: {what}; install with: {who}{line}", file=sys.stderr)
        return 1
    print(f"not on this machine: {what}; installing with: {line}", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], env=environment, capture_output=True)  # if it fails, install says why
    done = subprocess.run([*line.split(), "--yes", "-q"], env=environment, capture_output=True, text=True)
    if done.returncode:
        said = [text for text in done.stderr.splitlines() if text.startswith("E:")]
        print(f"`{line}` failed: {(said or ['it gave no reason'])[-1]}", file=sys.stderr)
        return 1
    still = missing(*uses)
    if still:
        print(f"still not on this machine: {', '.join(still)}", file=sys.stderr)
    return 1 if still else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
