"""The small recorded runs that ship with the window. `python -m l2sim.gui.window.first.examples` makes them and their
pictures again, in a minute; it draws at twice the size of a card.

Each is a run folder packed without its report page and the checkpoints to go on from. It is opened as a copy, which
goes when the window does.
"""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from l2sim.errors import RunError
from l2sim.job import job as jobs

SHIPPED = Path(__file__).parents[2] / "examples"
LEFT_OUT = (".lock", "report.html", "figures.json", *(f"checkpoints/{n}.safetensors" for n in ("latest", "previous")))
SIZE = (420, 150)
"""Of a picture on its card."""


class Example(NamedTuple):
    """A run under the `name` of its folder; `hint` is said when it opens; `preset` and `settings` make it. Its picture
    is of a `block` of its first layer at its end, coloured by `mode` and `choice` of the mesh view. It opens with its
    blocks coloured by `metric`, if any."""

    name: str
    title: str
    about: str
    hint: str
    preset: str
    settings: tuple[str, ...]
    block: int = 0
    mode: int = 0
    choice: str = ""
    metric: str = ""


# One dense layer of 2 x 8 cores: small enough to ship, and like the published ones otherwise.
_CORES = ("model.name=custom", "model.input=[1,8,8]", "pretrain.epochs=6", "map.compare=false",
          'model.layers=[{type="Flatten"},{type="Linear",out=10,k=8}]')  # fmt: skip

EXAMPLES = (
    Example(
        "calibrate-a-chip", "Calibrate a chip",
        "Sixteen cores with unknown phases find their way to the identity, are given weights, and learn.",
        "A recorded run: press Space to watch it from its first step, or click into the curves.",
        "digits", (*_CORES, "calibrate.method=zgd", "calibrate.epochs=16", "calibrate.polish=5", "map.epochs=10",
                   "map.polish=4", "learn.epochs=4"),
    ),
    Example(
        "learn-in-situ", "Learn in situ",
        "Three meshes of four modes learn two half moons from gradients, measured by light sent both ways.",
        "A recorded run: press Space to watch it from its first step; key 8 shows the light in the meshes.",
        "insitu-moons", ("learn.epochs=20",), 0, 7,
    ),
    Example(
        "broken-heater", "Find the broken heater",
        "One heater of this chip does not heat. Which one, and what does it cost?",
        "A recorded run: press W for the worst core, then B for what its error is made of.",
        "digits", (*_CORES, "seed=4", "nonidealities.dead=0.0007", "nonidealities.phase_bias=0", "calibrate.epochs=2",
                   "calibrate.polish=1", "map.start=ideal", "map.epochs=20", "map.polish=6", "learn.epochs=1"),
        2, 2, "from target", "oracle_mapping_error",
    ),
)  # fmt: skip

_copies: list[Path] = []


def picture(name: str, theme: str) -> Path:
    """The picture of an example for the card of a theme."""
    return SHIPPED / f"{name}-{theme}.png"


def unpack(name: str) -> Path:
    """A copy of the run in a temporary folder, the same one each time. RunError where it cannot be made."""
    try:
        if not _copies:
            _copies.append(Path(tempfile.mkdtemp(prefix="l2sim-examples-")).resolve())
            atexit.register(shutil.rmtree, _copies[0], ignore_errors=True)
        folder = _copies[0] / name
        if not folder.exists():
            write(SHIPPED / f"{name}.tar.xz", _copies[0] / "part")
            (_copies[0] / "part").rename(folder)
        return folder
    except (OSError, tarfile.TarError) as error:
        raise RunError(f"the example {name} cannot be unpacked: {error}; start a preset instead") from None


def write(path: Path, folder: Path) -> None:
    """Write the files that `pack` packed: extractall has safe filters only from Python 3.11.4 on."""
    with tarfile.open(path) as packed:
        for entry in packed:
            content = packed.extractfile(entry)
            file = (folder / entry.name).resolve()
            if content is not None and file.is_relative_to(folder.resolve()):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content.read())


def is_copy(folder: Path) -> bool:
    """Whether a run folder is the copy of an example, which is not there at the next start."""
    return folder.resolve().parent in _copies


def pack(folder: Path, path: Path) -> None:
    """Pack what a reader needs of a run folder, always into the same bytes."""
    with tarfile.open(path, "w:xz", preset=9) as packed:
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder).as_posix()
            if file.is_file() and name not in LEFT_OUT:
                data = file.read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o644
                packed.addfile(entry, io.BytesIO(data))


def main(place: Path = SHIPPED) -> None:
    """Make every example and its pictures."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["QT_SCALE_FACTOR"] = "2"
    from pyqtgraph.Qt import mkQApp  # late, like the others: it is told of platform and scale above

    from l2sim import blas  # late: as above
    from l2sim.runs.execute import execute

    blas.choose()
    application = mkQApp("l2sim")
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        for example in EXAMPLES:
            folder = Path(made) / example.name
            for _ in execute(jobs.with_overrides(jobs.load(example.preset), example.settings), folder):
                pass
            pack(folder, place / f"{example.name}.tar.xz")
            for name in ("dark", "light"):
                _draw(example, folder, name, place / f"{example.name}-{name}.png")
            print(example.name, (place / f"{example.name}.tar.xz").stat().st_size, flush=True)
    application.quit()


def _draw(example: Example, folder: Path, name: str, path: Path) -> None:
    """Draw the mesh of a core, in few colours."""
    from PIL import Image  # late: as above

    from ...base import theme  # late: as above
    from ...base.model import Selection, open_run
    from ...mesh.view import MeshView

    theme.use(name)
    selection, model = Selection(), open_run(folder)
    view = MeshView(selection)
    model.poll()
    selection.newest = model.newest
    layer = next(iter(model.layers.values()))
    selection.set(layer=layer.name, block=example.block, side="u" if layer.sigma else "")
    view.show_run(model)
    if example.choice:
        view.chosen[example.mode] = example.choice
    view.colour(example.mode)
    view.canvas.setFixedSize(*SIZE)
    view.show()
    view.canvas.worst = None  # its label has no room here
    view.canvas.grab().save(str(path))
    with Image.open(path) as drawn:
        drawn.convert("RGB").quantize(64).save(path, optimize=True)
    view.close()
    model.close()


if __name__ == "__main__":
    main()
