"""Numbers, sizes and text as people see them."""

import io

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from fastals.cli import show
from fastals.interactions import Interactions


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (-0.0, "-0"),
        (7, "7"),
        (1e6, "1,000,000"),
        (2856530.94, "2,856,531"),
        (24400.9012, "24,400.90"),
        (0.179105617, "0.1791056"),
        (-12.5, "-12.50000"),
        (0.000123456789, "0.0001234568"),
        (1.5e-9, "1.500000e-09"),
        (1.25e20, "1.250000e+20"),
        (9999999.7, "10,000,000"),
    ],
)
def test_number(value, expected):
    assert show.number(value) == expected


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (35_169, "35.2 kB"), (999_499, "999 kB"), (999_600, "1 MB")],
)
def test_size(tmp_path, length, expected):
    path = tmp_path / "file"
    path.write_bytes(bytes(length))
    assert show.size(path) == expected


def test_changes_that_round_to_nothing_are_zero(capsys):
    show.loss_history([100.0, 99.0, 99.0, 99.0 - 1e-9, 99.0 + 1e-9, 0.0, 1.0])
    cells = [line.split("│")[3].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert cells == ["", "-1.000 %", "0 %", "0 %", "0 %", "-100.000 %", ""]


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", "Кино 😀"), ("latin-1", "\\u041a"), ("ascii", "\\u041a")])
def test_what_the_terminal_cannot_show_is_escaped(monkeypatch, encoding, expected):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    show.scores("For Кино 😀", "item", ["Кино 😀"], [0.5])
    assert raw.getvalue().decode(encoding).count(expected) == 2


def test_the_progress_display_leaves_room_for_what_terminals_echo(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert show.progress().console.width == 80 - 3


def test_times_are_shown_as_dates_where_they_may_be(capsys):
    times = np.array([1_700_000_000, 1_600_000_000])
    show.summary(Interactions.from_arrays([1, 2], [1, 2], times=times))
    show.summary(Interactions.from_arrays([1, 2], [1, 2], times=[3, 12]))
    got = capsys.readouterr().out
    assert "2020-09-13 12:26:40" in got
    assert "2023-11-14 22:13:20" in got
    assert "3 to 12" in got
