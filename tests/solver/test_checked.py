"""Parameters checked: kept by value and type, without drawing random numbers, and what "auto" stands for."""

import numpy as np
import pytest
import scipy.sparse as sp
from models import small

from fastals import ImplicitALS
from fastals.core.state import Chosen
from fastals.core.validation import check_rows
from fastals.solver.checked import (
    AUTO_EXPONENT,
    check_parameters,
    checked_objective,
    checked_settings,
    exponents_of,
    unobserved_of,
)


def test_alpha_that_is_given_is_that_of_the_objective():
    assert checked_objective(small(alpha=3)).alpha == 3.0


def test_pairs_of_parameters_are_kept_by_value_and_type():
    """What a fit has chosen for "auto" is a pair, and every request asks for the objective."""
    chosen = Chosen(2.0, (0.5, 3.0))
    model = small(regularization="auto", alpha="auto")

    assert checked_objective(model, chosen) is checked_objective(model, Chosen(2.0, (0.5, 3.0)))
    assert checked_objective(model, Chosen(2.0, (3.0, 0.5))).user_regularization == 3.0
    assert checked_objective(small(regularization=(1.0, 1.0))).item_regularization == 1.0
    for wrong in ((True, 1.0), (1.0, True), ("1", 1.0)):  # equal to the pair before, two of them
        with pytest.raises(TypeError, match=r"^regularization must"):
            checked_objective(small(regularization=wrong))


def test_checking_parameters_draws_no_random_numbers():
    random = np.random.RandomState(0)
    settings, objective = check_parameters(small(random_state=random, alpha="auto", tol=0.25))

    assert random.randint(2**30) == np.random.RandomState(0).randint(2**30)
    assert settings.tolerance == 0.25
    assert objective.alpha == 1.0
    with pytest.raises(ValueError, match=r"^iterations must"):
        check_parameters(small(iterations=-1))


@pytest.mark.parametrize("value", ["yes", 1, 0.5])
def test_warm_start_is_a_boolean(value):
    with pytest.raises(TypeError, match=r"^warm_start must be True, False or None; got"):
        check_parameters(small(warm_start=value))
    check_parameters(small(warm_start=np.True_))


def test_steps_beyond_the_kernels_integers_are_as_many_as_these_hold():
    assert checked_settings(small(max_cg_steps=10**30)).max_steps == 2**31 - 1


def test_exponents_are_of_users_and_items_and_none_where_alpha_is_given():
    assert exponents_of(ImplicitALS()) == (0, AUTO_EXPONENT)
    assert exponents_of(ImplicitALS(alpha=1.0)) == (0, 0)
    assert exponents_of(ImplicitALS(alpha=1.0, unobserved_exponent=0.25)) == (0, 0.25)
    assert exponents_of(ImplicitALS(unobserved_exponent=(0.5, -1))) == (0.5, -1)
    with pytest.raises(TypeError, match=r"^unobserved_exponent must"):
        check_parameters(ImplicitALS(unobserved_exponent="high"))


def test_weights_of_missing_pairs_are_powers_of_popularity_or_given(ratings):
    rows, _ = check_rows(sp.csr_array(ratings), "user_items")
    counts = np.bincount(rows.indices, minlength=rows.shape[1])
    powers = np.maximum(counts, 1) ** 0.5

    users, items = unobserved_of(rows, (0.0, 0.5))

    assert users is None
    np.testing.assert_allclose(items.array, powers / powers[counts > 0].mean(), rtol=1e-14)
    given = np.linspace(0, 1, rows.shape[1])
    assert unobserved_of(rows, (0.0, 0.5), (None, given))[0] is None
    np.testing.assert_array_equal(unobserved_of(rows, (0.0, 0.5), (None, given))[1].array, given)
    with pytest.raises(TypeError, match=r"^unobserved_weights must be a pair"):
        unobserved_of(rows, (0.0, 0.5), given)
