"""Tables of measured responses as other programs and people write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from l2sim.errors import ChipError
from l2sim.learn.twin import files as twin_files

OUTPUTS, SETTINGS = 2, 3
HEAD = "core,setting,output,input,value\n"
WANTED = np.array(
    [[[[np.sin(1 + 7 * m + 3 * o + i) for i in range(OUTPUTS)] for o in range(OUTPUTS)] for m in range(SETTINGS)]]
)
LINES = "".join(f"{','.join(map(str, at))},{value:.6f}\n" for at, value in np.ndenumerate(WANTED))


def read(path: Path, text: str) -> np.ndarray:
    path.write_text(text, encoding="utf-8")
    return twin_files.read_responses(path, OUTPUTS, SETTINGS)


def test_the_table_that_the_cases_alter_is_read(tmp_path: Path) -> None:
    np.testing.assert_allclose(read(tmp_path / "responses.csv", HEAD + LINES), WANTED, atol=1e-6)


@pytest.mark.xfail(
    strict=True, raises=ChipError, reason="a table that begins with a byte order mark, as Excel writes it, is refused"
)
def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    np.testing.assert_allclose(read(tmp_path / "responses.csv", "\ufeff" + HEAD + LINES), WANTED, atol=1e-6)


@pytest.mark.xfail(strict=True, raises=ChipError, reason="a blank last line is refused as a row that is none")
def test_a_blank_last_line_is_skipped(tmp_path: Path) -> None:
    np.testing.assert_allclose(read(tmp_path / "responses.csv", HEAD + LINES + "\n"), WANTED, atol=1e-6)


@pytest.mark.xfail(
    strict=True, raises=ValueError, reason="indices written as 0.0 pass the check and end in a traceback of int('0.0')"
)
def test_indices_with_a_point_are_read(tmp_path: Path) -> None:
    rows = (line.rsplit(",", 1) for line in LINES.splitlines())
    lines = "".join(f"{','.join(f'{n}.0' for n in at.split(','))},{value}\n" for at, value in rows)
    assert "\n0.0,2.0,1.0,1.0," in lines
    np.testing.assert_allclose(read(tmp_path / "responses.csv", HEAD + lines), WANTED, atol=1e-6)


@pytest.mark.xfail(
    strict=True,
    raises=pytest.fail.Exception,
    reason="of a row that is there twice with two values the last one is taken without a word",
)
def test_a_row_that_is_there_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ChipError, match=r"line 14\b"):
        read(tmp_path / "responses.csv", HEAD + LINES + "0,0,0,0,9.9\n")


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the imaginary part of responses is dropped with a warning of NumPy's only",
)
@pytest.mark.filterwarnings("ignore:Casting complex values to real")
@pytest.mark.parametrize(
    "responses",
    (np.full((1, 13, 4, 4), 1j), np.exp(1j * np.arange(208.0)).reshape(1, 13, 4, 4)),
    ids=("imaginary", "complex"),
)
def test_complex_responses_are_kept_or_refused(tmp_path: Path, responses: np.ndarray) -> None:
    np.savez(tmp_path / "responses.npz", responses=responses)
    try:
        kept = twin_files.read_responses(tmp_path / "responses.npz", 4, 13)
    except ChipError:
        return
    np.testing.assert_allclose(kept, responses)


@pytest.mark.xfail(
    strict=True, raises=pytest.fail.Exception, reason="responses in an .npz are not checked: NaN and other shapes pass"
)
@pytest.mark.parametrize(
    "responses", (np.full((1, 25, 8, 8), np.nan), np.zeros((1, 7, 3, 3))), ids=("not numbers", "another shape")
)
def test_responses_in_an_npz_are_checked_as_in_a_table(tmp_path: Path, responses: np.ndarray) -> None:
    np.savez(tmp_path / "responses.npz", responses=responses)
    with pytest.raises(ChipError):
        twin_files.read_responses(tmp_path / "responses.npz", 8, 25)
