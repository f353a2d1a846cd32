"""Lists of what is similar: the query itself first, whatever ties with it, and cosines."""

import numpy as np
import pytest
import scipy.sparse as sp
from models import with_factors

from fastals import ImplicitALS


class TestItselfFirst:
    """People drop the first of what is similar: it is the query itself, whatever it ties with."""

    @pytest.fixture(params=["float32", "float64"])
    def tied(self, request) -> ImplicitALS:
        """Forty items in four directions, of any length; so are the users. The last of either are zero."""
        directions = np.array([[2.0, 1.0], [1.0, 3.0], [-1.0, 2.0], [3.0, 0.1]])
        factors = np.tile(directions, (10, 1)) * np.random.default_rng(0).uniform(0.1, 10, (40, 1))
        factors[36:] = 0
        return with_factors(sp.csr_array(np.eye(40)), factors, factors, dtype=request.param)

    @pytest.mark.parametrize("N", [1, 3, 12, 60])
    def test_of_all(self, tied, N):
        for similar in (tied.similar_items, tied.similar_users):
            ids, scores = similar(np.arange(40), N=N)
            np.testing.assert_array_equal(ids[:, 0], np.arange(40))
            np.testing.assert_array_equal(scores[:, 0], [1] * 36 + [0] * 4)
            for query in range(40):
                got, score = similar(query, N=N)
                np.testing.assert_array_equal(got, ids[query, : min(N, 40)])
                np.testing.assert_array_equal(score, scores[query, : min(N, 40)])
                assert np.unique(got).size == got.size
                assert (np.diff(score) <= 0).all()

    def test_the_rest_is_as_it_was(self, tied):
        for query in range(36):
            ids, scores = tied.similar_items(query, N=40)
            alone, expected = tied.similar_items(query, N=39, filter_items=[query])
            np.testing.assert_array_equal(ids[1:], alone)
            np.testing.assert_array_equal(scores[1:], expected)

    @pytest.mark.parametrize("count", [1, 12])
    def test_no_cosine_is_above_1_and_filters_change_none(self, count):
        """Rounding puts products of parallel rows beyond 1, above that of a row with itself."""
        random = np.random.default_rng(0)
        factors = np.tile(random.standard_normal((5, 7)), (8, 1)) * random.uniform(0.1, 10, (40, 1))
        model = with_factors(sp.csr_array(np.eye(40)), factors, factors, dtype="float32")
        ids, scores = model.similar_items(np.arange(count), N=40)

        assert scores.max() == 1
        np.testing.assert_array_equal(ids[:, 0], np.arange(count))
        assert ((np.diff(scores) < 0) | (np.diff(ids) > 0))[:, 1:].all()
        for some in random.integers(0, 40, (30, 3)):
            got, of_some = model.similar_items(np.arange(count), N=3, items=some)
            for row in range(count):
                kept = np.isin(ids[row], some)
                np.testing.assert_array_equal(got[row][got[row] >= 0], ids[row][kept])
                np.testing.assert_array_equal(of_some[row][got[row] >= 0], scores[row][kept])

    def test_filtered_it_does_not_come_back(self, tied):
        for chosen in ({"filter_items": [30, 7]}, {"items": np.arange(30)}, {"items": [2, 30], "filter_items": 30}):
            ids, _ = tied.similar_items([30, 29], N=40, **chosen)
            assert 30 not in ids
            assert (ids[1] == 29).any() == (len(np.atleast_1d(chosen.get("items", range(40)))) > 2)
            np.testing.assert_array_equal(tied.similar_items(30, N=40, **chosen)[0], ids[0][ids[0] >= 0])
        assert tied.similar_users(30, N=5, users=[2, 6])[0].tolist() == [2, 6]
        assert tied.similar_users(30, N=5, users=[2, 6, 30])[0][0] == 30
        assert tied.similar_users(30, N=1, users=[2, 6, 30])[0].tolist() == [30]

    def test_calculated_anew_it_is_before_its_equals_only(self, ratings):
        """A row that is nothing like an item's own does not make it the nearest; one that ties does."""
        model = with_factors(np.eye(3), np.eye(3), [[1.0, 0, 0], [0, 1, 0], [0, 2, 0]])
        of_user_1 = sp.csr_array([[0.0, 1, 0]])
        for query, expected in ((2, [2, 1, 0]), (1, [1, 2, 0]), (0, [1, 2, 0]), (9, [1, 2, 0])):
            got = model.similar_items(query, N=3, recalculate_item=True, item_users=of_user_1)[0]
            assert got.tolist() == expected
            rows = sp.csr_array([[0.0, 1, 0]] * 2)
            got = model.similar_items([query, 0], N=2, recalculate_item=True, item_users=rows)[0]
            assert got.tolist() == [expected[:2], [1, 2]]
        assert model.similar_items(2, N=1, recalculate_item=True, item_users=of_user_1)[0].tolist() == [2]
