"""Strengths of the penalties in units that can be compared: across exponents, and with features of any scale.

lambda_u = regularization frequency_u^exponent, with frequency_u = stored + c0 v_u sum w. At another exponent the same
regularization is quite another strength. Rendle et al. 2022 (section 3.4) keep the sum of lambda over all users and
items instead, for a strength that is known at exponent ``at``:

    regularization(exponent) = strength sum frequency^at / sum frequency^exponent.

The penalty of features, strength |A|^2, stands in the ridge regression of their effects beside F' diag(lambda) F, whose
mean diagonal, sum_u lambda_u |f_u|^2 / d, is its unit: a share of 1 halves the effect of a feature of average weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastals.core.rows import Rows
from fastals.core.validation import check_real, check_rows
from fastals.model import ImplicitALS
from fastals.objective import density_of
from fastals.solver.checked import (
    AUTO_EXPONENT,
    checked_objective,
    exponents_of,
    objective_for,
    unobserved_of,
)
from fastals.solver.features import mean_diagonal
from fastals.solver.given_features import checked_feature_strengths
from fastals.solver.sides import frequencies, sums_of_frequencies


def comparable_regularization(
    strength: float, model: ImplicitALS, user_items: Any, *, at: float = 1.0, unobserved_weights: Any = None
) -> float:
    """Regularization at a model's exponent that is as strong as ``strength`` is at exponent ``at``.

    The sum of lambda over all users and items is the same. A strength found at one exponent, or with one set of weights
    of missing pairs, so carries over to others:

    >>> import scipy.sparse as sp
    >>> from fastals import ImplicitALS
    >>> from fastals.tuning import comparable_regularization
    >>> plays = sp.csr_array([[5, 3, 0, 0], [4, 0, 1, 0], [0, 0, 4, 5], [0, 1, 5, 4]])
    >>> round(comparable_regularization(0.01, ImplicitALS(regularization_exponent=0.5, alpha=1), plays), 4)
    0.025

    Parameters
    ----------
    strength : float
        Regularization at exponent ``at``.
    model : ImplicitALS
        Its ``regularization_exponent``, ``unobserved_weight`` and ``unobserved_exponent`` are used, .5 where a fit is
        to find the last one; it need not be fitted.
    user_items : sparse matrix or array (n_users, n_items)
        What it is fitted to; its stored pattern alone matters.
    at : float, default 1
        The exponent at which the strength is known.
    unobserved_weights : pair of (n_users,) and (n_items,) arrays or None, optional
        As given to ``fit``.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        For arguments or parameters that do not fit.

    References
    ----------
    .. [1] S. Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.
    """
    strength, at = check_real("strength", strength), check_real("at", at)
    rows, _ = check_rows(user_items, "user_items")
    objective = checked_objective(model)
    unobserved = unobserved_of(rows, exponents_of(model), unobserved_weights)
    frequency = np.concatenate(frequencies(objective, rows, unobserved))
    # In units of the largest no power overflows.
    largest = frequency.max()
    exponent = objective.regularization_exponent
    ratio = ((frequency / largest) ** at).sum() / ((frequency / largest) ** exponent).sum()
    return float(strength * ratio * largest ** (at - exponent))


def feature_strengths(
    share: float, model: ImplicitALS, user_items: Any, features: tuple[Rows | None, Rows | None]
) -> tuple[float, float]:
    """``feature_regularization`` of users and items: ``share`` of the mean diagonal of F' diag(lambda) F.

    A side without features keeps the model's. Features are (n_users, d) and (n_items, d').
    """
    rows, _ = check_rows(user_items, "user_items")
    unobserved = unobserved_of(rows, exponents_of(model))
    objective = objective_for(model, rows, unobserved)
    strengths = [objective.user_regularization, objective.item_regularization]
    found = list(checked_feature_strengths(model))
    of_rows = frequencies(objective, rows, unobserved)
    for axis, (side, frequency) in enumerate(zip(features, of_rows, strict=True)):
        if side is not None:
            lambdas = strengths[axis] * frequency**objective.regularization_exponent
            found[axis] = share * mean_diagonal(side, lambdas) or found[axis]
    return found[0], found[1]


def first_trial(rows: Rows) -> dict[str, float]:
    """The constructor's parameters as a trial of a search, in its units, see ``fastals.tuning.trial``.

    The exponent of missing pairs is that of a fit to too few users to find one; other trials have others.

    There the mean stored pair weighs 1, in an untouched model density^-1/2 times c0 = 1: all weights times density^1/2
    are the same problem. The sum of lambda over all rows with entries is the same, too.
    """
    share = density_of(rows) ** 0.5
    model = ImplicitALS()
    unobserved = unobserved_of(rows, exponents_of(model))
    own = objective_for(model, rows, unobserved)
    strengths = own.user_regularization, own.item_regularization
    sides = sums_of_frequencies(own, rows, unobserved)
    wanted = sum(strength * powers for strength, (_, _, powers) in zip(strengths, sides, strict=True))
    searched = checked_objective(ImplicitALS(unobserved_weight=share))
    total = sum(powers for _, _, powers in sums_of_frequencies(searched, rows, unobserved))
    return {
        "unobserved_share": share,
        "ridge": float(share * wanted / total),
        "regularization_exponent": 1.0,
        "unobserved_exponent": AUTO_EXPONENT,
    }
