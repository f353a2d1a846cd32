import numpy as np
import pytest

pytest.importorskip("typer")

from fastals.cli import near as module
from fastals.cli.near import near

NAMES = np.array(['"Weird Al" 7324', "Earth, Wind & Fire", "Кино", "Metallica", "Metal Church", "Weird War", "10cc"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weird al", ['"Weird Al" 7324']),
        ("wind earth", ["Earth, Wind & Fire"]),
        ("КИНО", ["Кино"]),
        ("metal", ["Metallica", "Metal Church"]),
        ("Metalica", ["Metallica", "Metal Church"]),
        ("10c", ["10cc"]),
        ("zzz", []),
        ("   ", []),
        ("", []),
    ],
)
def test_words_in_any_case_come_first_then_what_is_spelt_alike(text, expected):
    assert near(text, NAMES) == expected


def test_integers_are_never_near():
    assert near("12", np.array([1, 2, 13])) == []


def test_blocks_make_no_difference(monkeypatch):
    expected = [near(text, NAMES) for text in ("weird", "Metalica")]
    monkeypatch.setattr(module, "_AT_A_TIME", 2)
    assert [near(text, NAMES) for text in ("weird", "Metalica")] == expected
    assert len(expected[0]) == 2


def test_number_of_ids_and_of_comparisons_is_limited(monkeypatch):
    many = np.array([f"song {number}" for number in range(100)])
    assert len(near("song", many, 5)) == 5
    monkeypatch.setattr(module, "_MOST", 10)
    assert set(near("song", many, 50)) == set(many[:10].tolist())
