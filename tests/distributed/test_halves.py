"""Halves of a sharded training: what they answer without having rows or factors at hand."""

import numpy as np
import pytest
from serial_executor import sharded_fit

from fastals import ImplicitALS
from fastals.core.validation import check_rows
from fastals.solver.sides import build_sides, loss_of_zero

pytestmark = pytest.mark.slow  # kernels of shards are compiled, or clusters started


def test_users_answer_for_their_shards(plays, make):
    training, P = sharded_fit(make(), plays)
    users = training.users
    local, _ = build_sides(training.objective, check_rows(plays, "user_items")[0], None, np.dtype(np.float32))

    assert (users.stored, users.filled) == (plays.nnz, np.count_nonzero(np.diff(plays.indptr)))
    assert users.loss_of_zero(training.objective) == pytest.approx(loss_of_zero(local, training.objective), rel=1e-12)
    assert users.kept() is None
    given = users.taken(P, "user_factors")
    np.testing.assert_array_equal(np.concatenate([solved.X for solved in given.references]), P)
    with pytest.raises(ValueError, match="user_factors must have shape"):
        users.taken(P[1:], "user_factors")


@pytest.mark.parametrize("exponents", [(0.0, 0.0), (0.0, 0.4), (0.4, 0.0)])
@pytest.mark.parametrize("regularization_exponent", [0.0, 0.5])
def test_users_are_what_a_fold_in_makes_of_their_rows(plays, make, exponents, regularization_exponent):
    """Bit for bit, whichever basis their half-sweep is solved in."""
    model = make(alpha=2.0, unobserved_exponent=exponents, regularization_exponent=regularization_exponent)
    plain = {name: value for name, value in model.get_params().items() if name not in ("client", "pairs_per_shard")}

    training, P = sharded_fit(model, plays)

    given = {"user_factors": P, "item_factors": training.items.factors}
    local = ImplicitALS(**{**plain, "iterations": 0}).fit(plays, **given)
    assert training.users.shards.shared_regularization == (
        2.0 if (regularization_exponent, exponents[0]) == (0, 0) else 0
    )
    np.testing.assert_array_equal(local.recalculate_user(np.arange(300)), P)


def test_digests_tell_problems_apart(plays, make):
    def problem(user_items=plays, **parameters):
        return sharded_fit(make(iterations=0, alpha=2.0, **parameters), user_items)[0].problem

    other = plays.copy()
    other.data[5] += 1
    first = problem()
    assert problem() == first
    for changed, part in (
        (problem(other), "weights"),
        (problem(plays[::-1]), "user_items"),
        (problem(pairs_per_shard=300), "user_items"),
        (problem(regularization=3.0), "regularization"),
        (problem(unobserved_exponent=(0.5, 0.0)), "unobserved_weights"),
    ):
        assert changed[part] != first[part]


def test_factors_that_overflow_are_told(plays, make):
    training, _ = sharded_fit(make(iterations=0), plays)
    training.users.check_products("user_factors")
    training.users.factors.references[1].X[0] = 1e30
    with pytest.raises(FloatingPointError, match="user_factors have grown beyond"):
        training.users.check_products("user_factors")
