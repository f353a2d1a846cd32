"""Features from tables: rows in the order of a matrix, groups side by side, new rows encoded alike."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.interactions import FeatureTable

FILMS = {
    "film": [30, 10, 20, 40],
    "year": [1990, 2000, None, 1980],
    "country": ["fr", None, "us", "fr"],
    "genres": [["Comedy", "Drama"], ["Drama"], [], ["Comedy"]],
    "title": ["A day", "Another day", "", "Night"],
}
KINDS = {"numbers": ["year"], "categories": ["country"], "lists": ["genres"], "text": ["title"], "text_width": 16}


def frames():
    pandas, polars, pyarrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    return [pandas.DataFrame(FILMS), polars.DataFrame(FILMS), pyarrow.table(FILMS)]


def test_rows_come_in_the_order_of_the_ids():
    table = FeatureTable.from_columns(FILMS, id="film", ids=np.array([10, 11, 30, 20]), **KINDS)
    plain = FeatureTable.from_columns({name: [cells[1], cells[0], cells[2]] for name, cells in FILMS.items()}, **KINDS)

    got = table.matrix.toarray()
    np.testing.assert_allclose(got[[0, 2, 3]], plain.matrix.toarray())
    assert not got[1].any()
    assert table.ids == ("10", "11", "30", "20")
    assert table.unknown_ids == ("40",)
    assert table.n_without == 1
    assert table.names[:5] == ("year", "country=fr", "country=us", "genres=Comedy", "genres=Drama")
    assert table.names[5:] == tuple(f"title#{number}" for number in range(16))
    assert repr(table) == "<FeatureTable: 4 rows x 21 features of 4 columns>"


def test_every_column_that_is_known_has_length_one():
    groups = FeatureTable.from_columns(FILMS, **KINDS).matrix.toarray()
    lengths = np.stack([np.linalg.norm(groups[:, part], axis=1) for part in (slice(1, 3), slice(3, 5), slice(5, None))])
    np.testing.assert_allclose(lengths, [[1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 0, 1]])
    assert (groups[[0, 1, 3], 0] ** 2).mean() == pytest.approx(1)


@pytest.mark.parametrize("which", range(3))
def test_dataframes_are_like_columns(which):
    frame = frames()[which]
    got = FeatureTable.from_dataframe(frame, id="film", ids=[20, 30, 10], **KINDS)
    expected = FeatureTable.from_columns(FILMS, id="film", ids=["20", "30", "10"], **KINDS)
    np.testing.assert_array_equal(got.matrix.toarray(), expected.matrix.toarray())
    assert got.names == expected.names
    np.testing.assert_array_equal(got.rows_of(frame).toarray(), expected.rows_of(FILMS).toarray())


def test_new_rows_are_encoded_with_what_the_first_ones_taught():
    table = pickle.loads(pickle.dumps(FeatureTable.from_columns(FILMS, **KINDS)))
    np.testing.assert_array_equal(table.rows_of(FILMS).toarray(), table.matrix.toarray())
    new = {"year": [2010], "country": ["de"], "genres": ["Drama|Western"], "title": ["Day, another!"], "more": [0]}
    got = table.rows_of(new).toarray()[0]
    assert got[0] == pytest.approx((2010 - 1990) / np.std([1990, 2000, 1980]))
    assert got[1:5].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(got[5:], table.matrix.toarray()[1, 5:])


def test_a_file_is_read_by_its_look(tmp_path):
    pytest.importorskip("duckdb")
    path = tmp_path / "films.csv"
    rows = [(f"f{number}", 1990 + number, "ab"[number % 2], "x|y" if number % 3 else "x") for number in range(12)]
    path.write_text("film,year,kind,tags,title\n" + "".join(f"{','.join(map(str, r))},Night {r[1]}\n" for r in rows))

    table = FeatureTable.from_file(path, ids=["f3", "f2"], text_width=4)

    assert table.names == ("year", "kind=a", "kind=b", "tags=x", "tags=y", *(f"title#{n}" for n in range(4)))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(table.matrix.toarray()[:, :5], [[1, 0, 1, 1, 0], [-1, 1, 0, half, half]])
    with pytest.raises(ValueError, match=r"films.csv: no column 'id'; the table has 'film'"):
        FeatureTable.from_file(path, id="id")
    with pytest.raises(ValueError, match=r"films.csv: no id in column 'film' is known: .* 'f0', ids with '1'"):
        FeatureTable.from_file(path, ids=[1, 2])


def test_a_model_takes_them_and_keeps_their_names():
    table = FeatureTable.from_columns(FILMS, id="film", ids=[10, 20, 30, 40], **KINDS)
    R = sp.csr_array(np.array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0]]))
    model = ImplicitALS(2, random_state=0).fit(R, item_features=table)
    plain = ImplicitALS(2, random_state=0).fit(R, item_features=table.matrix)

    assert model.feature_names_ == (None, table.names)
    assert model.feature_effects_[1].shape == (len(table.names), 2)
    np.testing.assert_array_equal(model.item_factors, plain.item_factors)
    assert model.item_factors[3].any()
    new = table.rows_of({name: cells[:1] for name, cells in FILMS.items()})
    assert model.similar_items(0, N=2, item_features=new)[0].size == 2


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ValueError, "nothing to encode"),
        ({"numbers": ["price"]}, ValueError, "no column 'price'; the table has 'film', 'year'"),
        ({"numbers": "year"}, TypeError, "columns must be named in a list, got 'year'"),
        ({"numbers": ["year"], "text": ["year"]}, ValueError, "named more than once"),
        ({"numbers": ["title"]}, ValueError, "'title' has 'A day' in row 0, wanted a finite number"),
        ({"numbers": ["year"], "ids": [10]}, ValueError, "ids need the id column"),
        ({"numbers": ["year"], "id": "film", "ids": [7]}, ValueError, "no id in column 'film' is known"),
        ({"numbers": ["year"], "id": "country"}, ValueError, "the id in row 1 is missing"),
        ({"text": ["title"], "text_width": 0}, ValueError, "text_width"),
        ({"lists": ["genres"], "separator": ""}, ValueError, "separator"),
    ],
)
def test_bad_arguments_are_named(options, error, words):
    with pytest.raises(error, match=words):
        FeatureTable.from_columns(FILMS, **options)


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="'a' more than once"):
        FeatureTable.from_columns({"id": ["a", "b", "a"], "n": [1, 2, 3]}, id="id", numbers=["n"])
    with pytest.raises(ValueError, match="equally long"):
        FeatureTable.from_columns({"m": [1, 2], "n": [1, 2, 3]}, numbers=["m", "n"])
    with pytest.raises(ValueError, match="lacks the column 'country'"):
        FeatureTable.from_columns(FILMS, **KINDS).rows_of({"year": [1]})
