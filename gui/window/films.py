"""Pictures of a range of steps as one file: an animated GIF, or a film where the program ffmpeg is here. No Qt."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from l2sim import files

from ..base.files import ExportError

ENCODER = "ffmpeg"


def encoder() -> str | None:
    """The program that makes films, if it is here."""
    return shutil.which(ENCODER)


def write(pictures: Sequence[Path], path: Path, rate: int) -> Path:
    """Write pictures one after the other, `rate` a second, as the ending of `path` says: .gif or .mp4. ExportError for
    no picture, another ending, without the encoder, and where the disk or the encoder refuses."""
    if not pictures:
        raise ExportError("there is no picture to make a film of; choose a range that has steps")
    if path.suffix.lower() == ".gif":
        return files.write(path, _gif(pictures, rate), refuse=ExportError)
    if path.suffix.lower() != ".mp4":
        raise ExportError(f"{path.name} ends in {path.suffix or 'nothing'}; use .gif or .mp4")
    return _film(pictures, path, rate)


def _gif(pictures: Sequence[Path], rate: int) -> bytes:
    """256 colours a picture, chosen for each; over and over."""
    frames = []
    for picture in pictures:
        with Image.open(picture) as image:
            frames.append(image.convert("RGB").quantize(256, dither=Image.Dither.NONE))
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=round(1000 / rate), loop=0)
    return content.getvalue()


def _film(pictures: Sequence[Path], path: Path, rate: int) -> Path:
    """H.264 with even sides, which players ask for."""
    program = encoder()
    if program is None:
        raise ExportError(f"a film needs the program {ENCODER}, which is not here; install it, or write .gif")
    command = [
        program, "-y", "-loglevel", "error", "-f", "image2pipe", "-framerate", str(rate), "-c:v", "png", "-i", "-",
        "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, input=b"".join(p.read_bytes() for p in pictures), capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        raise ExportError(f"{ENCODER} could not write {path}: {said[-1]}; write .gif instead")
    return path
