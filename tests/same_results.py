"""Whether two checkouts give the same results on this machine: what is moved or tidied must change no byte.

    python tests/same_results.py OLD [NEW]             NEW: this checkout; --only NAME ... for some of the parts

For every preset a smoke run (`--smoke --seed 1 --threads 1`): its report, figures, events, scalars, phases, the arrays
of its checkpoints and of an export; the table of one small sweep; the SVG of every panel on a run of either flow. Times
are masked. What has the same values under another name is listed as renamed, all else that differs as different.
Only what a user sees is used, the commands and the files, but for the window, whose two names are tried. Both
checkouts run in the environment of this Python. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Prints = dict[str, str]
"""Name of a result -> digest of its content."""

HERE = Path(__file__).resolve().parent.parent
SCALAR = [("step", "<u8"), ("time", "<f8"), ("series", "<u4"), ("value", "<f8"), ("crc", "<u4")]
FRAME = struct.Struct("<4sBBHQIII")
"""The head of a frame of a phase file: magic, kind, 0, series, step, values, bytes of payload, checksum."""
TIMES = {"seconds", "started", "process", "id", "time", "eta", "rate"}
"""Keys whose values are another every time."""
WIDTHS = {"F64": 8, "F32": 4, "I64": 8, "BOOL": 1}
SWEEP = """job = "digits"
smoke = true
[grid]
seed = [1, 2]
"nonidealities.phase_bits" = [6, 8]
"""
PANELS = """
import importlib, os, sys, time
from pathlib import Path
from pyqtgraph.Qt import QtWidgets
run, out, app = Path(sys.argv[1]), Path(sys.argv[2]), None
for name in ("l2sim.gui.window.app", "l2sim.gui.app"):
    try:
        app = importlib.import_module(name)
        break
    except ImportError:
        pass
start, module = app.start_qt(), None
for name in ("l2sim.gui.window.window", "l2sim.gui.window"):
    try:
        module = importlib.import_module(name)
        break
    except ImportError:
        pass
window = module.Window(out / "runs")
window.resize(1280, 820)
window.show()
assert window.open(run)
window.selection.set(step=window.model.newest)
for panel in window.panels:
    end = time.monotonic() + 0.4
    dock = window.docks.get(panel.title)
    if dock is not None:
        dock.show(); dock.raise_()
    while time.monotonic() < end:
        QtWidgets.QApplication.processEvents()
        window.tick(everything=True)
    panel.svg(out / f"{panel.title}.svg")
sys.stdout.flush()
os._exit(0)
"""


def digest(content: Any) -> str:
    """Of bytes, or of whatever JSON can hold."""
    raw = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def masked(value: Any) -> Any:
    """A JSON value without the keys that are times."""
    if isinstance(value, dict):
        return {key: masked(one) for key, one in value.items() if key not in TIMES}
    return [masked(one) for one in value] if isinstance(value, list) else value


def command(checkout: Path, *arguments: str, place: Path) -> str:
    """What a command of the checkout prints."""
    environment = os.environ | {
        "PYTHONPATH": str(checkout), "QT_QPA_PLATFORM": "offscreen", "XDG_CONFIG_HOME": str(place / "config"),
        "COLUMNS": "120", "TZ": "UTC",
    }  # fmt: skip
    done = subprocess.run([sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{checkout}: `{' '.join(arguments)[:200]}` failed:\n{done.stderr[-2000:]}")
    return done.stdout


def arrays(path: Path) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the arrays in a safetensors or npz file."""
    if path.suffix == ".npz":
        with np.load(path) as data:
            for name in data.files:
                if name != "__metadata__":
                    yield name, str((data[name].dtype, data[name].shape)).encode() + data[name].tobytes()
        return
    raw = path.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    for name, entry in json.loads(raw[8:begin]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            yield name, str((entry["dtype"], entry["shape"])).encode() + raw[begin + first : begin + last]


def frames(folder: Path) -> dict[int, bytes]:
    """The records of every series of frames in the phase files, by its number, checksums included."""
    records: dict[int, bytes] = {}
    for path in sorted(folder.glob("phase-*.bin")):
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            _, _, _, number, _, _, size, _ = FRAME.unpack_from(raw, at)
            end = at + FRAME.size + size
            records[number], at = records.get(number, b"") + raw[at:end], end
    return records


def of_run(folder: Path) -> Prints:
    """The results in a run folder."""
    prints: Prints = {}
    for name in ("report.json", "figures.json"):
        if (folder / name).exists():
            for key, value in masked(json.loads((folder / name).read_text())).items():
                prints[f"{name}/{key}"] = digest(value)
    events = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    prints["events"] = digest(masked([event for event in events if event["type"] != "series"]))
    series = {event["id"]: event["name"] for event in events if event["type"] == "series"}
    prints["series"] = digest([event | {"name": ""} for event in events if event["type"] == "series"])
    scalars = np.fromfile(folder / "scalars.bin", SCALAR)
    for number in np.unique(scalars["series"]):
        rows = scalars[scalars["series"] == number]
        prints[f"scalars/{series[int(number)]}"] = digest(rows["step"].tobytes() + rows["value"].tobytes())
    for number, content in frames(folder).items():
        prints[f"frames/{series[number]}"] = digest(content)
    for path in sorted((folder / "checkpoints").glob("*.safetensors")):
        for name, content in arrays(path):
            prints[f"{path.name}/{name}"] = digest(content)
    return prints


def of_preset(checkout: Path, preset: str, place: Path) -> Prints:
    """A smoke run of a preset, and its export."""
    run, net = place / "run", place / "net.npz"
    options = ["--smoke", "--seed", "1", "--threads", "1", "--quiet", "--out", str(run)]
    command(checkout, "-m", "l2sim", "run", preset, *options, place=place)
    command(checkout, "-m", "l2sim", "export", str(run), "--out", str(net), place=place)
    return of_run(run) | {f"export/{name}": digest(content) for name, content in arrays(net)}


def of_sweep(checkout: Path, place: Path) -> Prints:
    """The table of a small sweep."""
    (place / "sweep.toml").write_text(SWEEP)
    command(checkout, "-m", "l2sim", "sweep", "sweep.toml", "--out", "sweep", "--workers", "1", place=place)
    return {"results.csv": digest((place / "sweep" / "results.csv").read_bytes())}


def of_panels(checkout: Path, preset: str, place: Path) -> Prints:
    """The SVG of every panel on a smoke run, without times of day and durations."""
    command(
        checkout, "-m", "l2sim", "run", preset, "--smoke", "--seed", "1", "--threads", "1", "--quiet", "--out", "run",
        place=place,
    )  # fmt: skip
    command(checkout, "-c", PANELS, str(place / "run"), str(place), place=place)
    prints = {}
    for path in sorted(place.glob("*.svg")):
        text = re.sub(r"\d\d:\d\d(:\d\d)?|\d+(\.\d+)? (ms|s|min)\b|/tmp/[^\s<\"]*", "*", path.read_text())
        prints[path.stem] = digest(text.encode())
    return prints


def parts(checkout: Path) -> list[str]:
    """All that is compared, by name."""
    with tempfile.TemporaryDirectory() as place:
        listed = command(checkout, "-m", "l2sim", "presets", place=Path(place))
    presets = re.findall(r"^│ ([a-z][\w.-]+) ", listed, re.MULTILINE)
    return [*presets, "sweep", "panels digits", "panels insitu-digits"]


def of_part(checkout: Path, part: str) -> Prints:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if part == "sweep":
            return of_sweep(checkout, place)
        if part.startswith("panels "):
            return of_panels(checkout, part.removeprefix("panels "), place)
        return of_preset(checkout, part, place)


def compare(old: Prints, new: Prints) -> list[str]:
    """A line for each difference."""
    gone, come = {n: d for n, d in old.items() if n not in new}, {n: d for n, d in new.items() if n not in old}
    lines = [f"different  {name}" for name in old if name in new and old[name] != new[name]]
    for name, value in gone.items():
        twin = next((other for other, same in come.items() if same == value), None)
        lines.append(f"renamed    {name} -> {twin}" if twin else f"gone       {name}")
        if twin:
            del come[twin]
    return lines + [f"new        {name}" for name in come]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path, nargs="?", default=HERE)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    options = parser.parse_args()
    old, new = options.old.resolve(), options.new.resolve()
    every = differing = 0
    for part in options.only or parts(old):
        before, after = of_part(old, part), of_part(new, part)
        lines = compare(before, after)
        every, differing = every + len(before), differing + len(lines)
        print(f"{part}: {len(before)} results, {len(lines)} differ", *lines, sep="\n    ", flush=True)
    print(f"{every} results, {differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
