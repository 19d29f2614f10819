"""The HTML of a report: one page without scripts, pictures or styles from elsewhere, in light, in dark and on paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from l2sim._version import __version__

SOURCE = (
    'L2ight (Gu et al., NeurIPS 2021, <a href="https://arxiv.org/abs/2110.14807">arXiv 2110.14807</a>)'
)  # fmt: skip
CITE = f"Method: {SOURCE}."
BADGE = '<span class="oracle">oracle: a lab cannot know this</span>'

FACTS = {
    "accuracy": ("accuracy", "test set, last epoch"),
    "validation_accuracy": ("validation accuracy", "training images kept for choosing, last epoch"),
    "oracle_accuracy": ("oracle accuracy", "test set, after the oracle projection of sigma"),
    "loss": ("loss", "cross entropy on the test set, nat"),
    "validation_loss": ("validation loss", "cross entropy on the validation share, nat"),
    "calibration_loss": ("calibration loss", "as measured, mean over cores"),
    "oracle_identity_error.u": ("oracle identity error, U", "mean of (|U| − I)² over elements and cores"),
    "oracle_identity_error.v": ("oracle identity error, V", "mean of (|V| − I)² over elements and cores"),
    "oracle_mapping_error": ("oracle mapping error", "|USV − W|² / |USV|², mean over cores"),
    "oracle_gradient_error": ("oracle gradient error", "1 − cos(measured, true), mean over meshes, last epoch"),
    "oracle_gradient_angle": ("oracle gradient angle", "rad, measured to true, all layers as one vector, last epoch"),
    "oracle_gradient_distance": ("oracle gradient distance", "|measured − true|² / |true|², all layers, last epoch"),
    "evaluations": ("evaluations", "whole k × k responses read"),
    "core_calls": ("core calls", "vectors sent through a core"),
    "writes": ("writes", "commands to heaters and attenuators that changed"),
    "accumulation_steps": ("accumulation steps", "sequential electronic additions of partial sums"),
    "tap_readings": ("tap readings", "powers read inside the meshes"),
    "forward_core_calls": ("core calls forward", "of these, light through a network"),
    "weight_gradient_core_calls": ("core calls for weight gradients", "light both ways through the pseudo-identities"),
    "input_gradient_core_calls": ("core calls for input gradients", "errors sent back"),
    "forward_accumulation_steps": ("accumulation steps forward", "of those above"),
    "weight_gradient_accumulation_steps": ("accumulation steps for weight gradients", ""),
    "input_gradient_accumulation_steps": ("accumulation steps for input gradients", ""),
    "images": ("images learnt from", "every mini-batch they were in"),
    "images_offered": ("images offered", "with those that data sampling left out"),
    "activation_bytes": ("activations remembered", "bytes a mini-batch, between forward and backward pass"),
    "activation_bytes_dense": ("activations without sampling", "bytes a mini-batch"),
    "energy_j.total": ("energy on the chips", "J, by the job's device table"),
    "chip_seconds": ("time on the chips", "s, by the job's device table"),
    "vectors": ("vectors in a row", "core calls where those of a chip count once"),
    "settled": ("waits", "for what was written to settle"),
    "loads": ("blocks taken up", "by a pass of the network"),
    "seconds": ("time of the simulation", "s"),
}
"""What the stage table shows: key of `report.json` -> label and meaning with unit."""


def number(value: float | None) -> str:
    """A number for people; text that says so where it is not finite."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "not finite"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def numeric(entry: Mapping[str, object], key: str) -> float | None:
    """The number under `key` of an entry of a report; None where there is none, or one that is not finite."""
    value = entry.get(key)
    return value if isinstance(value, int | float) else None


def percent(share: float | None) -> str:
    """A share of one in percent ("93.1 %"), for people; text that says so where it is None."""
    return number(share) if share is None else f"{100 * share:.1f} %"


def oracle(label: str) -> str:
    """`label`, badged if it names an oracle's quantity."""
    if not label.startswith("oracle"):
        return escape(label)
    return f"{escape(label.removeprefix('oracle').strip())} {BADGE}"


def page(title: str, body: Iterable[str]) -> str:
    """The whole page as HTML: `title` is text, `body` the parts below it, HTML each."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="l2sim {__version__}">
<title>{escape(title)} – l2sim report</title>
<style>{_CSS}</style>
</head>
<body>
<main>
{chr(10).join(body)}
</main>
</body>
</html>
"""


def section(title: str, body: str) -> str:
    """A part of the page under a heading: `title` is text, `body` HTML."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def figure(svg: str, caption: str, badge: bool = False) -> str:
    """A picture and what one should see in it; `caption` is HTML."""
    words = f"{BADGE} {caption}" if badge else caption
    return f'<figure>\n<div class="picture">{svg}</div>\n<figcaption>{words}</figcaption>\n</figure>'


def missing(text: str) -> str:
    """A faint paragraph in the place of what the run folder does not hold; `text` is escaped."""
    return f'<p class="missing">{escape(text)}</p>'


def note(text: str) -> str:
    """A highlighted paragraph that warns the reader; `text` is escaped."""
    return f'<p class="note" role="note">{escape(text)}</p>'


def table(heads: Sequence[str], rows: Iterable[tuple[str, str, Sequence[str]]], kind: str = "numbers") -> str:
    """Rows of (label as HTML, meaning, cells as HTML); `kind` "words" aligns to the left."""
    lines = []
    for label, meaning, cells in rows:
        small = f"<small>{escape(meaning)}</small>" if meaning else ""
        lines.append(f'<tr><th scope="row">{label}{small}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="table {kind}"><table>{body}</table></div>'


_CSS = """
:root { color-scheme: light dark; --ink: #1c1d1f; --faint: #5d636b; --paper: #ffffff; --line: #d9dce1; --box: #f4f5f7;
  --warn: #fff3d6; --mark: #b34700; --blue: #0072b2; --vermillion: #d55e00; --green: #009e73; --purple: #cc79a7; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --faint: #a3a9b2; --paper: #16181b;
  --line: #363a41; --box: #202328; --warn: #3a2f14; --mark: #ff9d5c;
  --blue: #4ba3e0; --vermillion: #ff8a3d; --green: #2fbf92; --purple: #e5a5c8; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .8rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
a { color: inherit; }
figure { margin: 1rem 0; }
.picture, .table { overflow-x: auto; }
.picture svg { display: block; width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--faint); font-size: .9rem; max-width: 48rem; margin-top: .4rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child { text-align: left; }
th { font-weight: 600; }
th small { display: block; font-weight: 400; color: var(--faint); }
.words td, .words th { text-align: left; }
.oracle { display: inline-block; color: var(--mark); border: 1px solid currentColor; border-radius: .6em;
  padding: 0 .45em; font-size: .72rem; font-weight: 400; white-space: nowrap; line-height: 1.5; }
.note { background: var(--warn); padding: .6rem .9rem; border-radius: .4rem; }
.missing { color: var(--faint); font-style: italic; }
pre { background: var(--box); padding: .7rem .9rem; border-radius: .4rem; white-space: pre-wrap; }
summary { cursor: pointer; margin: .6rem 0; }
@media print { main { max-width: none; padding: 0; } body { font-size: 10.5pt; }
  figure, tr, pre { break-inside: avoid; }
  h2 { break-after: avoid; } details::details-content { content-visibility: visible; height: auto; } }
"""
