"""Tables and arrays of settings and responses as other programs and people write them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2sim.errors import ChipError
from l2sim.learn.twin import files as twin_files
from l2sim.mesh.mesh import Mesh

OUTPUTS, SETTINGS = 2, 3
NAMES = ("core", "setting", "output", "input", "value")
HEAD = "core,setting,output,input,value\n"
WANTED = np.array(
    [[[[np.sin(1 + 7 * m + 3 * o + i) for i in range(OUTPUTS)] for o in range(OUTPUTS)] for m in range(SETTINGS)]]
)
ROWS = [(*map(str, at), f"{value:.6f}") for at, value in np.ndenumerate(WANTED)]
LINES = "".join(f"{','.join(row)}\n" for row in ROWS)
MESH = Mesh("rectangular", 4)


def read(path: Path, text: str | bytes) -> np.ndarray:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return twin_files.read_responses(path, OUTPUTS, SETTINGS)


def decimal_commas(separator: str) -> str:
    return "\n".join(separator.join(row).replace(".", ",") for row in (NAMES, *ROWS)) + "\n"


def indices(form: Callable[[str], str]) -> str:
    return HEAD + "".join(f"{','.join(map(form, row[:-1]))},{row[-1]}\n" for row in ROWS)


TAKEN: dict[str, str | bytes] = {
    "as written": HEAD + LINES,
    "a byte order mark": "\ufeff" + HEAD + LINES,
    "UTF-16, little end first": (HEAD + LINES).encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + (HEAD + LINES).encode("utf-16-be"),
    "a blank last line": HEAD + LINES + "\n",
    "blank lines all over": "\n\n" + HEAD + "\n" + LINES.replace("\n", "\n\n \n"),
    "rows of empty cells": HEAD + LINES + ",,,,\n",
    "comments": "# measured on Monday\n" + HEAD + "# from here on\n" + LINES + "#,,,,\n",
    "lines of Windows": (HEAD + LINES).replace("\n", "\r\n"),
    "lines of old Macs": (HEAD + LINES).replace("\n", "\r"),
    "no newline at the end": (HEAD + LINES).rstrip(),
    "spaces around cells": (HEAD + LINES).replace(",", " , "),
    "tabs": (HEAD + LINES).replace(",", "\t"),
    "semicolons": (HEAD + LINES).replace(",", ";"),
    "semicolons and decimal commas": decimal_commas(";"),
    "tabs and decimal commas": decimal_commas("\t"),
    "quoted cells": "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in (NAMES, *ROWS)),
    "a comma behind every row": (HEAD + LINES).replace("\n", ",\n"),
    "a head in capitals": HEAD.title() + LINES,
    "another order": "value,input,core,output,setting\n"
    + "".join(f"{v},{i},{c},{o},{m}\n" for c, m, o, i, v in ROWS),
    "rows in another order": HEAD + "".join(reversed(LINES.splitlines(keepends=True))),
    "indices as 0.0": indices(lambda index: f"{index}.0"),
    "indices as 0.": indices(lambda index: f"{index}."),
    "indices as 0e0": indices(lambda index: f"{index}e0"),
    "indices as +0": indices(lambda index: f"+{index}"),
    "indices as 00": indices(lambda index: f"0{index}"),
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN.keys())
def test_what_spreadsheets_and_scripts_write_is_read(tmp_path: Path, text: str | bytes) -> None:
    np.testing.assert_allclose(read(tmp_path / "responses.csv", text), WANTED, atol=1e-6)


def with_cell(column: str, cell: str, row: int = 0) -> str:
    rows = [list(r) for r in ROWS]
    rows[row][NAMES.index(column)] = cell
    return HEAD + "".join(",".join(r) + "\n" for r in rows)


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "a row twice, another value": (HEAD + LINES + "0,0,0,0,9.9\n", "line 14, column value.*line 2 already"),
    "a row twice, its index written otherwise": (HEAD + LINES + "0.0,0,0e0,0,9.9\n", "line 14.*line 2 already"),
    "a row twice, the same value": (HEAD + LINES + ",".join(ROWS[0]) + "\n", "line 14, column value.*line 2 already"),
    "an index below zero": (with_cell("setting", "-1"), "line 2, column setting: '-1'"),
    "minus zero and a half": (with_cell("core", "-0.5"), "line 2, column core"),
    "an index out of range": (with_cell("output", "2", 3), "line 5, column output.*0 to 1"),
    "a huge index": (with_cell("setting", "1e9"), "line 2, column setting.*0 to 2"),
    "a huge core": (with_cell("core", "1e9"), "incomplete"),
    "an index of a half": (with_cell("input", "0.5"), "line 2, column input"),
    "no number": (with_cell("value", "dark", 2), "line 4, column value: 'dark' is not a number"),
    "nan": (with_cell("value", "nan"), "line 2, column value"),
    "infinity": (with_cell("value", "inf"), "line 2, column value"),
    "more than a number can be": (with_cell("value", "1e999"), "line 2, column value.*too large"),
    "an empty cell": (with_cell("value", ""), "line 2, column value: the number is missing"),
    "an underscore": (with_cell("value", "1_0"), "line 2, column value"),
    "digits of another script": (with_cell("value", "١"), "line 2, column value"),
    "a complex number": (with_cell("value", "1+2j"), "line 2, column value"),
    "a unit": (with_cell("value", "0.3 mW"), "line 2, column value"),
    "hexadecimal": (with_cell("value", "0x1"), "line 2, column value"),
    "a quoted decimal comma": (with_cell("value", '"0,5"'), "line 2, column value.*decimal comma"),
    "a decimal comma": (with_cell("value", "0,5"), "line 2: .*6 cells"),
    "thousands": ("core;setting;output;input;value\n0;0;0;0;1.234,5\n", "line 2, column value"),
    "points and commas": (decimal_commas(";").replace(",", ".", 1), "decimal comma and others above have a point"),
    "a row too short": (HEAD + LINES + "0,0,0\n", "line 14: .*3 cells"),
    "a row too long": (HEAD + LINES + "0,0,0,0,1,7\n", "line 14: .*6 cells"),
    "rows missing": (
        HEAD + "".join(LINES.splitlines(keepends=True)[:-2]),
        "2 of 12 values are missing, the first of core 0",
    ),
    "no head": (LINES, "line 1: the column '0' is there twice"),
    "a column missing": (HEAD.replace(",input", ""), "the column 'input' is missing"),
    "a column too many": (HEAD.replace(",value", ",value,noise") + LINES, "no column 'noise'"),
    "a column twice": (HEAD.replace(",input", ",output"), "column 'output' is there twice"),
    "a column of imaginary parts": ("core,setting,output,input,value,imag\n", "no column 'imag'"),
    "a head only": (HEAD, "incomplete"),
    "nothing": ("", "it is empty"),
    "a comment only": ("# nothing yet\n", "it is empty"),
    "no text": (bytes(range(256)), "cannot be read|is no text"),
    "zeros": (b"\0" * 64, "is no text"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_means_nothing_or_two_things_is_refused_with_its_place(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    with pytest.raises(ChipError, match=words) as caught:
        read(tmp_path / "responses.csv", text)
    assert "\n" not in str(caught.value) and "responses.csv" in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_table_written_in_any_of_these_ways_is_read(tmp_path: Path, data: st.DataObject) -> None:
    """All ways of writing at once: marks, separators, order of rows and columns, comments, blank lines, indices."""
    separator = data.draw(st.sampled_from([",", ";", "\t"]))
    comma = separator != "," and data.draw(st.booleans())
    columns, rows = data.draw(st.permutations(range(5))), data.draw(st.permutations(ROWS))
    form = data.draw(st.sampled_from(["{}", "{}.0", "{}e0", " {} "]))
    lines = [separator.join(NAMES[c] for c in columns)]
    for row in rows:
        cells = [form.format(cell) for cell in row[:-1]] + [row[-1]]
        cells = [cell.replace(".", ",") if comma else cell for cell in cells]
        lines.append(separator.join(cells[c] for c in columns))
        lines += data.draw(st.lists(st.sampled_from(["", "# note", "  "]), max_size=1))
    text = data.draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    np.testing.assert_allclose(read(tmp_path / "responses.csv", text.encode(encoding)), WANTED, atol=1e-6)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(HEAD + LINES) - 1), st.characters(codec="utf-8"))
def test_a_table_with_one_character_changed_is_read_as_it_stands_or_refused(
    tmp_path: Path, at: int, other: str
) -> None:
    text = HEAD + LINES
    try:
        values = read(tmp_path / "responses.csv", text[:at] + other + text[at + 1 :])
    except ChipError as error:
        assert "\n" not in str(error).replace(repr(other), "")
        return
    differ = np.flatnonzero(np.abs(values - WANTED) > 1e-6)
    assert values.shape == WANTED.shape and len(differ) <= 1 and np.isfinite(values).all()


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", ">f8", "<f4", "int8", "uint16", "longdouble", "complex64", "bool"]
)
def test_arrays_of_real_numbers_are_read_whatever_their_type(tmp_path: Path, dtype: str) -> None:
    values = np.round(3 * WANTED).clip(0 if "u" in dtype else -3).astype(dtype)  # no imaginary parts
    np.savez(tmp_path / "responses.npz", responses=values)
    got = twin_files.read_responses(tmp_path / "responses.npz", OUTPUTS, SETTINGS)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, values.real.astype(float))


NAN = WANTED.copy()
NAN[0, 1, 0, 1] = np.nan
ARRAYS: dict[str, tuple[dict[str, object], str]] = {
    "complex": ({"responses": WANTED * 1j}, "array responses must be real, and this is complex"),
    "text": ({"responses": WANTED.astype(str)}, "array responses must be an array of numbers"),
    "objects": ({"responses": WANTED.astype(object)}, "no NPZ file with responses"),
    "not finite": ({"responses": NAN}, r"array responses: \(0, 1, 0, 1\) is not finite"),
    "infinite": ({"responses": np.where(np.isnan(NAN), np.inf, NAN)}, "is not finite"),
    "another k": ({"responses": np.zeros((1, 3, 3, 3))}, r"the shape \(1, 3, 3, 3\); this mesh needs \(any, 3, 2, 2\)"),
    "fewer settings": ({"responses": WANTED[:, :2]}, "has the shape"),
    "one axis less": ({"responses": WANTED[0]}, "has the shape"),
    "no cores": ({"responses": WANTED[:0]}, "is empty"),
    "another name": ({"answers": WANTED}, "holds answers; it must hold responses"),
    "one array more": ({"responses": WANTED, "noise": WANTED}, "and no more"),
    "none": ({}, "holds nothing"),
}


@pytest.mark.parametrize(("arrays", "words"), ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_are_checked_as_tables_are(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "responses.npz", **arrays)
    with pytest.raises(ChipError, match=words) as caught:
        twin_files.read_responses(tmp_path / "responses.npz", OUTPUTS, SETTINGS)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("nothing")
    (tmp_path / "empty.npz").write_bytes(b"")
    whole = io.BytesIO()
    np.savez(whole, responses=WANTED)
    (tmp_path / "cut.npz").write_bytes(whole.getvalue()[:-40])
    np.save(tmp_path / "one.npy", WANTED)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name in ("text.npz", "empty.npz", "cut.npz", "one.npz", "missing.npz", "missing.csv", "."):
        with pytest.raises(ChipError) as caught:
            twin_files.read_responses(tmp_path / name, OUTPUTS, SETTINGS)
        assert "\n" not in str(caught.value)


def settings_of(count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)
    return draw.uniform(0, 6, (count, 2 * MESH.count)), draw.uniform(-1, 1, (count, MESH.modes))


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_settings_come_back_from_both_kinds_of_file(tmp_path: Path, ending: str) -> None:
    wanted = settings_of()
    twin_files.write_settings(tmp_path / f"settings.{ending}", MESH, wanted)
    for got, array in zip(twin_files.read_settings(tmp_path / f"settings.{ending}", MESH), wanted):
        np.testing.assert_array_equal(got, array)


def test_settings_are_checked_like_responses(tmp_path: Path) -> None:
    path = tmp_path / "settings.csv"
    twin_files.write_settings(path, MESH, settings_of())
    text = path.read_text()
    lines = text.splitlines()
    sigma = next(i for i, line in enumerate(lines) if ",sigma," in line)
    for changed, words in (
        (text + lines[1] + "\n", r"column value: this value was given in line 2 already"),
        (text.replace(lines[1], lines[1].replace(",u,", ",w,")), "line 2, column part: this mesh has nothing in 'w'"),
        (text.replace(lines[sigma], "0,sigma,1,0,0.5"), "column part: this mesh has nothing in 'sigma', column 1"),
        (text.replace(lines[sigma], "0,sigma,0,-1,0.5"), "column rail"),
        (text.replace(lines[sigma], "0,sigma,0,4,0.5"), "nothing in 'sigma', column 0, rail 4"),
        ("\n".join(lines[:-1]), "incomplete: 1 of"),
    ):
        path.write_text(changed)
        with pytest.raises(ChipError, match=words):
            twin_files.read_settings(path, MESH)
    drive, ends = settings_of()
    for arrays, words in (
        ({"drive": drive[:1], "sigma": ends}, "1 settings and sigma 2"),
        ({"drive": drive[:, 1:], "sigma": ends}, "array drive has the shape"),
        ({"drive": drive, "sigma": ends + 1j}, "array sigma must be real"),
        ({"drive": drive}, "it must hold drive, sigma"),
    ):
        np.savez(tmp_path / "settings.npz", **arrays)
        with pytest.raises(ChipError, match=words):
            twin_files.read_settings(tmp_path / "settings.npz", MESH)
