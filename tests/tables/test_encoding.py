"""Each kind of column against its definition, written out."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastals.tables.encoding import Labels, Numbers, Words, is_missing, label

MISSING = [None, math.nan, "", "  ", np.float32("nan")]


def dense(encoding, cells):
    got = encoding.encoded(cells)
    assert got.shape == (len(cells), len(encoding.names))
    assert got.has_canonical_format
    return got.toarray()


def test_numbers_are_standardised_and_missing_ones_are_zero():
    cells = [1, 4.0, "7", *MISSING, np.int8(4)]
    encoding = Numbers.learnt("price", cells)
    got = dense(encoding, cells)[:, 0]

    spread = math.sqrt((9 + 0 + 9 + 0) / 4)
    np.testing.assert_allclose(got, [-3 / spread, 0, 3 / spread, 0, 0, 0, 0, 0, 0])
    assert encoding.names == ["price"]
    np.testing.assert_allclose(dense(encoding, [10]), [[6 / spread]])


@pytest.mark.parametrize("cells", [[2, 2, None], [None, None], []])
def test_a_constant_column_says_nothing(cells):
    assert not dense(Numbers.learnt("price", cells), [*cells, 5]).any()


@pytest.mark.parametrize("cell", ["dear", np.inf, "inf", [1], 10**400])
def test_what_is_no_number_is_named(cell):
    with pytest.raises(ValueError, match=r"column 'price' has .* in row 1, wanted a finite number"):
        Numbers.learnt("price", [1, cell])


def test_categories_are_one_column_each_and_unknown_ones_none():
    encoding = Labels.learnt("kind", ["b", "a", None, "b", 3, 3.0, True])
    assert encoding.names == ["kind=3", "kind=True", "kind=a", "kind=b"]
    expected = [[0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    np.testing.assert_array_equal(dense(encoding, [" b ", "c", "3", None, np.True_]), expected)
    with pytest.raises(TypeError, match=r"'kind' has the list .*; name it in lists"):
        encoding.encoded([["a"]])


def test_tags_share_a_length_of_one():
    cells = ["x|y", ["y", "z", None], "", ("x",), np.array(["z", "z"]), "x||x| "]
    encoding = Labels.learnt("tags", cells, "|")
    assert encoding.names == ["tags=x", "tags=y", "tags=z"]
    half = math.sqrt(0.5)
    expected = [[half, half, 0], [0, half, half], [0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]
    np.testing.assert_allclose(dense(encoding, cells), expected)
    np.testing.assert_allclose(dense(encoding, ["x|new"]), [[1, 0, 0]])
    with pytest.raises(TypeError, match=r"'tags' has 7, wanted lists, or text with '\|' between"):
        encoding.encoded([7])


@given(st.lists(st.one_of(st.none(), st.text(max_size=30)), max_size=5), st.integers(1, 64))
def test_words_are_hashed_with_their_signs(cells, width):
    import re

    expected = np.zeros((len(cells), width))
    for row, cell in enumerate(cells):
        for word in re.findall(r"\w+", (cell or "").casefold()):
            code = zlib.crc32(word.encode())
            expected[row, code % width] += 1 if code < 2**31 else -1
        length = math.sqrt((expected[row] ** 2).sum())
        expected[row] /= length or 1
    np.testing.assert_allclose(dense(Words("title", width), cells), expected)


def test_the_hash_is_the_same_everywhere():
    """These figures are part of what models in files mean."""
    got = dense(Words("title", 8), ["Toy Story (1995)", "toy, STORY"])
    expected = np.zeros((2, 8))
    for word, rows in ((b"toy", (0, 1)), (b"story", (0, 1)), (b"1995", (0,))):
        for row in rows:
            expected[row, zlib.crc32(word) % 8] += 1 if zlib.crc32(word) < 2**31 else -1
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected, axis=1)[:, None])
    assert (zlib.crc32(b"toy"), zlib.crc32(b"story")) == (0x6705A76E, 0xEB560438)


def test_ids_and_labels_as_text():
    assert [label(cell) for cell in (3, 3.0, 3.5, " a ", np.int64(4), np.float32(2))] == [
        "3",
        "3",
        "3.5",
        "a",
        "4",
        "2",
    ]
    assert all(map(is_missing, MISSING))
    assert not any(map(is_missing, [0, False, "0", []]))
