"""The mesh panel as vectors: the same shapes that are rasterised for the screen, with titles, legend and notes.

Qt's own writer is not used: it paints through the widget, and its output depends on the version of Qt. Above `MOST`
shapes the picture is embedded as pixels, which are smaller than their vectors would be.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from ..base import files as export
from ..base import painting, theme
from .canvas import Canvas
from .colours import HATCH, wheel
from .geometry import Thing
from .legend import Legend, row
from .raster import MARKED
from .shapes import Quads, Strokes

MOST = 40_000
HEAD, FOOT = 30, 60
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


def write(title: str, canvas: Canvas, legend: Legend, path: Path) -> None:
    """Write what the canvas shows between `title` and legend to `path`. ExportError where the disk refuses."""
    export.write(path, ("\n".join(document(title, canvas, legend)) + "\n").encode())


def document(title: str, canvas: Canvas, legend: Legend) -> Iterator[str]:
    """The lines of the file."""
    now = theme.now()
    width, height = canvas.width(), canvas.height()
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" '
        f'height="{height + HEAD + FOOT}" viewBox="0 0 {width} {height + HEAD + FOOT}">'
    )
    yield f"<title>{escape(title)}</title>"
    frame = f'<clipPath id="frame"><rect width="{width}" height="{height}"/></clipPath>'
    yield f"<defs>{_hatch(HATCH[now.name], now.base)}{frame}</defs>"
    yield f'<rect width="{width}" height="{height + HEAD + FOOT}" fill="{now.base}"/>'
    yield _text(10, 20, title, now.text, size=14)
    yield f'<g transform="translate(0 {HEAD})" clip-path="url(#frame)">'
    if canvas.scene is not None:
        shapes = canvas.shapes()
        pieces = sum(rails.y.size for rails in shapes.strokes)
        if len(shapes.cells.colours) + len(shapes.plates.colours) + pieces // 8 > MOST:
            yield _embedded(canvas)
        else:
            strokes = [line for rails in shapes.strokes for line in _rails(canvas, rails, shapes.wide)]
            plates = list(_quads(canvas, shapes.plates, shapes.radius))
            yield from plates if shapes.lit else strokes
            yield from strokes if shapes.lit else []
            seam = np.array(((0, 0), (1, 0), (1, 1), (0, 1))) * shapes.seam
            yield from _quads(canvas, Quads(shapes.cells.corners - seam, shapes.cells.colours), 0.0)
            yield from [] if shapes.lit else plates
        yield from _words(canvas)
    yield "</g>"
    if canvas.note:
        yield _text(width / 2, HEAD + height / 2, canvas.note, now.text, anchor="middle")
    yield f'<g transform="translate(0 {HEAD + height})">'
    yield from _legend(legend)
    yield "</g>"
    yield "</svg>"


def _colour(value: int) -> str:
    return f"#{int(value) & 0xFFFFFF:06x}"


def _text(
    x: float, y: float, text: str, fill: str, size: float = 12, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f"{FONT}>{escape(text)}</text>"
    )


def _hatch(colour: int, canvas: str) -> str:
    return (
        '<pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="8" height="8" fill="{canvas}"/><rect width="4" height="8" fill="{_colour(colour)}"/></pattern>'
    )


def _rails(canvas: Canvas, rails: Strokes, wide: float) -> Iterator[str]:
    """One path for every rail. Where light makes its colour differ along the way, that is a gradient."""
    for rail, y in zip(rails.rails.tolist(), rails.y):
        numbers = rails.first + rails.modes * np.stack((np.floor(rails.place), np.ceil(rails.place))).astype(int) + rail
        low, high = canvas.palette_[numbers]
        paint = _colour(int(low[0]))
        if (low != low[0]).any() or (high != low[0]).any():
            name = f"light-{rails.side}-{rail}"
            begin, end = float(rails.x[0]), float(rails.x[-1])
            # Between two parts the gradient does the mixing, so the colours of whole places are all that it needs.
            whole = np.flatnonzero(rails.place == np.floor(rails.place))
            stops = "".join(
                f'<stop offset="{(rails.x[i] - begin) / (end - begin):.5f}" stop-color="{_colour(int(low[i]))}"/>'
                for i in whole.tolist()
            )
            yield (
                f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" x1="{begin:.2f}" x2="{end:.2f}" y1="0" '
                f'y2="0">{stops}</linearGradient>'
            )
            paint = f"url(#{name})"
        path = "M" + "L".join(f"{px:.2f} {py:.2f}" for px, py in zip(rails.x.tolist(), y.tolist()))
        yield (
            f'<path class="rail" data-side="{rails.side}" data-index="{rail}" fill="none" stroke="{paint}" '
            f'stroke-width="{wide:.2f}" stroke-linejoin="round" stroke-linecap="round" d="{path}"/>'
        )


def _quads(canvas: Canvas, quads: Quads, radius: float) -> Iterator[str]:
    """A path for every plate or tile, with round corners by a stroke in its own colour."""
    assert canvas.scene is not None
    for quad, number in zip(quads.corners, quads.colours.tolist()):
        value = np.uint32(canvas.palette_[number])
        fill = "url(#hatch)" if value == MARKED else _colour(int(value))
        inner = quad + np.clip(quad.mean(axis=0) - quad, -radius, radius)
        path = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in inner.tolist()) + "Z"
        edge = f' stroke="{fill}" stroke-width="{2 * radius:.2f}" stroke-linejoin="round"' if radius else ""
        yield f'<path {_name(canvas.scene.thing(number))} fill="{fill}"{edge} d="{path}"/>'


def _name(thing: Thing | None) -> str:
    if thing is None:
        return ""
    return f'class="{thing.kind}" data-side="{thing.side}" data-index="{thing.at}"'


def _embedded(canvas: Canvas) -> str:
    pixels = canvas.image()
    text = base64.b64encode(export.png(painting.image(pixels, *pixels.shape))).decode()
    return f'<image width="{canvas.width()}" height="{canvas.height()}" xlink:href="data:image/png;base64,{text}"/>'


def _words(canvas: Canvas) -> Iterator[str]:
    """Titles, rails, rings and what they say."""
    now = theme.now()
    scene, v = canvas.scene, canvas.view
    assert scene is not None
    yield _text(6, 16, "light →", now.faint)
    titles = scene.titles()
    for begin, end, side, title in titles if len(titles) > 1 else []:
        weight = "bold" if side == canvas.side else "normal"
        yield _text((begin + end) / 2 * v.sx + v.ox, 16, title, now.text, anchor="middle", weight=weight)
    first, last, end = scene.meshes[0], scene.meshes[-1], scene.width * v.sx + v.ox
    for x, mesh, anchor in ((v.ox - 5, first, "end"), (end + 5, last, "start")):
        for rail in range(0, mesh.part.modes, v.numbered):
            yield _text(x, rail * v.sy + v.oy + 4, str(rail), now.faint, anchor=anchor)
    marks = [(side, kind, index, now.bad, "") for side, kind, index in canvas.rings]
    marks += [(*where, now.bad, fate) for where, fate in canvas.broken]
    if canvas.worst:
        side, kind, index, label = canvas.worst
        marks.append((side, kind, index, now.warn, label))
    if canvas.selected:
        marks.append((canvas.selected[0], "theta", canvas.selected[1], now.accent, ""))
    for side, kind, index, colour, label in marks:
        box = canvas.box(side, kind, index)
        if box is None:
            continue
        yield (
            f'<rect class="mark" x="{box.left():.1f}" y="{box.top():.1f}" width="{box.width():.1f}" '
            f'height="{box.height():.1f}" rx="5" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        if label:
            yield _text(box.center().x(), box.top() - 5, label, colour, anchor="middle")


def _wheel(x: float, y: float, radius: float, parts: int = 24) -> Iterator[str]:
    """The hues of phases around a circle, 0 at the right and upwards from there, as in the window."""
    hues = wheel(theme.now().name).astype(int)
    for part in range(parts):
        ends = np.pi / parts * np.array((2 * part - 1.1, 2 * part + 1.1))  # a little over the next, against seams
        (x0, x1), (y0, y1) = x + radius * np.cos(ends), y - radius * np.sin(ends)
        red, green, blue = hues[len(hues) * part // parts]
        yield (
            f'<path class="phase" d="M{x0:.2f} {y0:.2f}L{x1:.2f} {y1:.2f}" stroke="rgb({red},{green},{blue})" '
            f'stroke-width="{radius / 2:.1f}"/>'
        )


def _legend(legend: Legend) -> Iterator[str]:
    now, scale = theme.now(), legend.scale
    if scale is None:
        return
    name = f"{legend.title} [{scale.unit}]" if scale.unit else legend.title
    yield _text(14, 16, f"{name} · {legend.badge}", now.text)
    colours = row(scale, legend.turns, 33, legend.least)
    stops = "".join(f'<stop offset="{i / 32:.4f}" stop-color="{_colour(c)}"/>' for i, c in enumerate(colours.tolist()))
    yield f'<defs><linearGradient id="map">{stops}</linearGradient></defs>'
    yield '<rect x="14" y="22" width="320" height="9" fill="url(#map)"/>'
    for share, text in scale.ticks():
        anchor = {0.0: "start", 1.0: "end"}.get(share, "middle")
        yield _text(14 + 320 * share, 46, text, now.faint, size=11, anchor=anchor)
    if legend.turns:
        yield from _wheel(368, 27, 10)
        yield _text(386, 31, "phase", now.faint, size=11)
    if legend.wrong:
        x = 440 if legend.turns else 360
        yield f'<rect x="{x}" y="20" width="16" height="12" fill="url(#hatch)"/>'
        yield _text(x + 22, 31, f"{legend.wrong} not a number or out of range", now.bad)
