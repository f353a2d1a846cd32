"""The model: parameters, ``fit``, ``loss`` and ``predict``. Whatever else it is asked, it passes on."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable
from typing import IO, Any, cast

import scipy.sparse as sp
from numpy.typing import DTypeLike

from fastals.core.overlay import Factors
from fastals.core.parameters import Parameters, documented_by
from fastals.core.state import FeatureNames, State, fitted, needed, swap, training_state_of
from fastals.core.types import Array, ArrayLike, FeaturesLike, RandomState, SparseLike
from fastals.core.validation import check_dtype, check_given_factors, describe, read_only
from fastals.persistence import save_load
from fastals.serving import fold_in, scores, update
from fastals.serving import recommend as lists
from fastals.serving.fitted import Fitted
from fastals.solver.fit import fit
from fastals.solver.fitting import Given, warn_of_singular_rows
from fastals.solver.sweeps import TrainingState
from fastals.tables.interactions import Interactions
from fastals.tables.store import InteractionStore


class ImplicitALS(Parameters):
    """Implicit-feedback matrix factorisation by exact alternating least squares.

    Minimises, over ALL pairs of users and items,

        sum c_ui (phi_ui - p_u.q_i)^2 + sum_u lambda_u |p_u|^2 + sum_i lambda_i |q_i|^2

    where a pair that is not stored has confidence c = ``unobserved_weight`` v_u w_i and preference phi = 0, and a
    stored pair has phi = 1 if its value is positive and 0 if it is negative (a dislike), with a confidence that grows
    with the size of the value [1]_. v and w are 1 unless ``unobserved_exponent`` or ``fit`` says otherwise. With
    features f_u of users (or g_i of items), |p_u|^2 becomes |p_u - A' f_u|^2, and ``feature_regularization`` |A|^2 is
    added: factors are drawn towards what their features predict.

    Parameters
    ----------
    factors : int
        Number of latent factors.
    regularization : float, (float, float) or "auto"
        Strength of the penalty, or one for users and one for items. "auto" lets the mean lambda of a side be
        (c0 m)^1/2, with m the mean of what ``regularization_exponent`` is the power of, whatever the size of the data;
        rows and columns without entries do not count. ``regularization_`` is what it was.
    alpha : float or "auto"
        Scale of the confidence of stored values. "auto" lets the mean stored pair weigh
        c0 (n_users n_items / stored)^1/2, whatever the scale of the values; ``alpha_`` is what it was.
    iterations : int
        Number of sweeps, unless a callback stops earlier.
    unobserved_weight : float
        c0, the confidence of pairs that are not stored; may be 0.
    unobserved_exponent : float, (float, float) or "auto"
        Popular items' missing pairs weigh more: w_i ~ max(n_i, 1)^exponent, with n_i the users who have item i, scaled
        to the mean 1 of those with entries [4]_. One number is that of the items, a pair (users, items); 0 weighs all
        alike. With ``alpha="auto"``, "auto" is the exponent of the items that ranks best what small fits to a part of
        the data are not shown (0.5 where users are few); where alpha is given it is 0: weights are as said.
    regularization_exponent : float
        lambda_u = regularization * (stored in row u + c0 v_u sum w)^exponent, likewise for items [3]_; where all weigh
        alike sum w is the number of items.
    confidence : {"auto", "linear", "log", "raw"}
        Of a stored value r: c = c0 + alpha |r|, c = c0 + alpha log(1 + |r| / epsilon), or (implicit's) c = alpha |r|.
        "auto" is "log" with ``alpha="auto"``, and "linear" where alpha is given.
    epsilon : float
        Scale of the logarithm.
    objective : {"hu", "rendle"}
        "hu" is the above. "rendle" is sum over stored w (1 - p.q)^2 + c0 * sum over ALL (p.q)^2, with w = alpha |r| or
        its log form [3]_.
    solver : {"cg", "cholesky"}
        Conjugate gradients in the Gramian's eigenbasis, up to ``tol`` [2]_, or direct solution.
    tol : float
        Relative error of a row at which conjugate gradients stop, in the norm of the loss: with A x = b the row's
        normal equations, (e'Ae)^1/2 <= tol (x'Ax)^1/2, in the end or, without acceleration, in every sweep. A value
        below the epsilon of ``dtype`` cannot be reached.
    max_cg_steps : int
        Rows that have not reached ``tol`` by then are solved directly in float64, as are rows whose curvature is not
        positive. Rows with a confidence above 1,000 times what the pair would weigh if it were missing are solved
        directly from the start.
    dtype : {"float32", "float64"}
        Of the factors. Gramians, eigenproblems and the loss are float64 always.
    num_threads : int, optional
        By default all that Numba has. Results do not depend on it.
    random_state : int, Generator or RandomState, optional
        For the first users' factors.
    warm_start : bool
        Whether ``fit`` goes on from the factors of an earlier one.
    acceleration : bool or "auto"
        Whether to extrapolate the items' factors from sweep to sweep, guarded by the loss, and to solve sweeps no more
        accurately than pays: half as many sweeps for the same loss, at two thirds of the cost. "auto" does so unless
        ``fit`` is given factors to start from.
    feature_regularization : float, (float, float) or "auto"
        Strength of the penalty of the features' effects, or one for users and one for items; positive. "auto" is the
        mean of what it stands beside, sum_u lambda_u f_u^2 of a feature; it halves the effect of a mean feature.

    Attributes
    ----------
    user_factors : (n_users, factors) array, read-only
    item_factors : (n_items, factors) array, read-only
    loss_history : list of float
        The loss after each sweep; the last one is that of the factors, after users were solved once more to ``tol``.
    alpha_, regularization_, unobserved_exponent_ : float, (float, float), (float, float)
        What was used, of users and of items.
    unobserved_weights_ : (v, w)
        Weights of missing pairs, (n_users,) and (n_items,) arrays; None where all are 1.
    feature_effects_, feature_names_ : (A, B), (names, names)
        Effects of the features of users and of items, (d, factors) arrays, and their names; None where there are none.
    user_items_ : csr_array (n_users, n_items)
    solver_report_ : dict
        Of the last fit: ``cg_steps`` (mean a row, last sweep); and summed over the half-sweeps ``direct_rows`` (solved
        directly), ``fallback_rows`` (solved in float64), ``singular_rows`` (underdetermined), and ``largest_ridge``,
        the largest ridge that was added to a row's system so that it could be solved, relative to its diagonal.
    interactions : Interactions
        Ids of users and items, of a model that was saved with them.

    References
    ----------
    .. [1] Y. Hu, Y. Koren, C. Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.
    .. [2] G. Takacs, I. Pilaszy, D. Tikk, "Applications of the Conjugate Gradient Method for Implicit Feedback
       Collaborative Filtering", RecSys 2011.
    .. [3] S. Rendle, W. Krichene, L. Zhang, Y. Koren, "Revisiting the Performance of iALS on Item Recommendation
       Benchmarks", RecSys 2022.
    .. [4] X. He, H. Zhang, M.-Y. Kan, T.-S. Chua, "Fast Matrix Factorization for Online Recommendation with Implicit
       Feedback", SIGIR 2016.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from fastals import ImplicitALS
    >>> plays = sp.csr_array([[5, 3, 0, 0], [4, 0, 1, 0], [0, 0, 4, 5], [0, 1, 5, 4]])
    >>> model = ImplicitALS(factors=2, random_state=0).fit(plays)
    >>> items, scores = model.recommend(1, N=1)
    >>> items.tolist()
    [1]
    """

    _state = State()  # the one thing that a fit makes; see ``fastals.core.state``

    def __init__(
        self,
        factors: int = 64,
        *,
        regularization: float | tuple[float, float] | str = "auto",
        alpha: float | str = "auto",
        iterations: int = 15,
        unobserved_weight: float = 1.0,
        unobserved_exponent: float | tuple[float, float] | str = "auto",
        regularization_exponent: float = 1.0,
        confidence: str = "auto",
        epsilon: float = 1.0,
        objective: str = "hu",
        solver: str = "cg",
        tol: float = 1e-3,
        max_cg_steps: int = 50,
        dtype: DTypeLike = "float32",
        num_threads: int | None = None,
        random_state: RandomState = None,
        warm_start: bool = False,
        acceleration: bool | str = "auto",
        feature_regularization: float | tuple[float, float] | str = "auto",
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.unobserved_weight = unobserved_weight
        self.unobserved_exponent = unobserved_exponent
        self.regularization_exponent = regularization_exponent
        self.confidence = confidence
        self.epsilon = epsilon
        self.objective = objective
        self.solver = solver
        self.tol = tol
        self.max_cg_steps = max_cg_steps
        self.dtype = dtype
        self.num_threads = num_threads
        self.random_state = random_state
        self.warm_start = warm_start
        self.acceleration = acceleration
        self.feature_regularization = feature_regularization

    @documented_by(fit)
    def fit(
        self, user_items: SparseLike, *, preference: SparseLike | None = None,
        unobserved_weights: tuple[ArrayLike | None, ArrayLike | None] | None = None,
        user_features: FeaturesLike | None = None, item_features: FeaturesLike | None = None,
        user_factors: ArrayLike | None = None, item_factors: ArrayLike | None = None,
        callback: Callable[[ImplicitALS, int, float], Any] | None = None, show_progress: bool | None = None,
        resume_from: TrainingState | None = None,
    ) -> ImplicitALS:  # fmt: skip
        """Fit the factors."""
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable; got {describe(callback)}")

        def called(state: State, sweep: int, loss: float) -> tuple[Any, State]:
            model = copy.copy(self)
            model._state = state
            return None if callback is None else callback(model, sweep, loss), model._state

        given = Given(
            user_items, preference, unobserved_weights, user_features, item_features, user_factors, item_factors
        )
        adopt = functools.partial(setattr, self, "_state")
        fit(self, self._state, given, called if callback else None, show_progress, resume_from, adopt)
        warn_of_singular_rows(self._state, stacklevel=2)
        return self

    @documented_by(scores.loss)
    def loss(self, user_items: SparseLike, *, preference: SparseLike | None = None) -> float:
        """Value of the objective for the current factors on any interactions of the same shape."""
        return scores.loss(self._fitted(), user_items, preference)

    @documented_by(scores.loss_parts)
    def loss_parts(self, user_items: SparseLike, *, preference: SparseLike | None = None) -> dict[str, float]:
        """What stored pairs, missing pairs and penalties add to the loss of any interactions of the same shape."""
        return scores.loss_parts(self._fitted(), user_items, preference)

    @documented_by(scores.predict)
    def predict(self, user: ArrayLike, item: ArrayLike) -> Any:
        """Score p_u.q_i of users and items."""
        return scores.predict(self._fitted(), user, item)

    @documented_by(lists.recommend)
    def recommend(
        self, userid: ArrayLike, user_items: SparseLike | None = None, N: int = 10,
        filter_already_liked_items: bool = True, filter_items: ArrayLike | None = None, recalculate_user: bool = False,
        items: ArrayLike | None = None, user_features: FeaturesLike | None = None,
    ) -> tuple[Array, Array]:  # fmt: skip
        """Items of the highest scores p_u.q_i for one user or several."""
        asked = userid, user_items, N, filter_already_liked_items, filter_items, recalculate_user, items, user_features
        return lists.recommend(self._fitted(), *asked)

    @documented_by(lists.similar_items)
    def similar_items(
        self, itemid: ArrayLike, N: int = 10, recalculate_item: bool = False, item_users: SparseLike | None = None,
        filter_items: ArrayLike | None = None, items: ArrayLike | None = None,
        item_features: FeaturesLike | None = None,
    ) -> tuple[Array, Array]:  # fmt: skip
        """Items whose factors make the smallest angle with an item's."""
        fitted = self._fitted()
        return lists.similar_items(fitted, itemid, N, recalculate_item, item_users, filter_items, items, item_features)

    @documented_by(lists.similar_users)
    def similar_users(
        self, userid: ArrayLike, N: int = 10, filter_users: ArrayLike | None = None, users: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Users whose factors make the smallest angle with a user's; as ``similar_items``."""
        return lists.similar_users(self._fitted(), userid, N, filter_users, users)

    @documented_by(lists.explain)
    def explain(
        self, userid: int, user_items: SparseLike | None = None, itemid: int | None = None,
        user_weights: tuple[Array, bool] | None = None, N: int = 10, user_features: FeaturesLike | None = None,
    ) -> tuple[float, list[tuple[int, float]], tuple[Array, bool]]:  # fmt: skip
        """Divide a score among the user's stored items."""
        return lists.explain(self._fitted(), userid, user_items, itemid, user_weights, N, user_features)

    @documented_by(fold_in.recalculate, 0)
    def recalculate_user(
        self, userid: ArrayLike, user_items: SparseLike | None = None, user_features: FeaturesLike | None = None
    ) -> Array:
        """Factors of users solved from their rows: one row of a training half-sweep, bit for bit."""
        return fold_in.recalculate(self._fitted(), 0, userid, user_items, user_features)

    @documented_by(fold_in.recalculate, 1)
    def recalculate_item(
        self, itemid: ArrayLike, item_users: SparseLike | None = None, item_features: FeaturesLike | None = None
    ) -> Array:
        """Factors of items solved from their users; as ``recalculate_user``, with rows (n, n_users)."""
        return fold_in.recalculate(self._fitted(), 1, itemid, item_users, item_features)

    @documented_by(fold_in.partial_fit, 0)
    def partial_fit_users(
        self, userids: ArrayLike, user_items: SparseLike | None, user_features: FeaturesLike | None = None
    ) -> None:
        """Solve users from new rows and put them into the model, which grows for ids beyond its last user."""
        swap(self, lambda state: fold_in.partial_fit(Fitted(self, state), 0, userids, user_items, user_features))

    @documented_by(fold_in.partial_fit, 1)
    def partial_fit_items(
        self, itemids: ArrayLike, item_users: SparseLike | None, item_features: FeaturesLike | None = None
    ) -> None:
        """Solve items from new rows (n, n_users) and put them into the model; as ``partial_fit_users``."""
        swap(self, lambda state: fold_in.partial_fit(Fitted(self, state), 1, itemids, item_users, item_features))

    @documented_by(update.update)
    def update(
        self, user_items: SparseLike | Interactions, *, rule: str = "sum", half_life: float | None = None,
        elapsed: float | None = None, sweeps: int = 0, interactions: Interactions | None = None,
    ) -> ImplicitALS:  # fmt: skip
        """Take in new interactions: merge them into the history, solve the rows they touch, and refresh the rest."""
        new = update.News(user_items, rule, half_life, elapsed, sweeps, interactions)
        swap(self, lambda state: update.update(Fitted(self, state), new))
        return self

    @documented_by(save_load.save)
    def save(
        self, path: str | os.PathLike[str] | IO[bytes], *, interactions: Interactions | InteractionStore | None = None
    ) -> None:
        """Write the model to one file, without pickle."""
        save_load.save(self, self._state, path, interactions)

    @classmethod
    @documented_by(save_load.load)
    def load(cls, path: str | os.PathLike[str] | IO[bytes], *, mmap: bool = False) -> ImplicitALS:
        """Read a model that ``save`` wrote."""
        model: ImplicitALS
        model, model._state = save_load.load(cls, path, mmap)
        return model

    @documented_by(training_state_of)
    def training_state(self) -> TrainingState:
        """State of the running ``fit``, for its callbacks: ``fit(resume_from=...)`` goes on from it."""
        return cast(TrainingState, training_state_of(self._state))

    @property
    def user_factors(self) -> Array:
        """Users' factors, (n_users, factors), read-only; assigning copies."""
        return needed(self._state.user_factors).array

    @user_factors.setter
    def user_factors(self, value: ArrayLike) -> None:
        factors = Factors(check_given_factors(value, "user_factors", self.dtype))
        swap(self, lambda state: state.changed(user_factors=factors))

    @property
    def item_factors(self) -> Array:
        """Items' factors, (n_items, factors), read-only; assigning copies."""
        return needed(self._state.item_factors).array

    @item_factors.setter
    def item_factors(self, value: ArrayLike) -> None:
        factors = Factors(check_given_factors(value, "item_factors", self.dtype))
        swap(self, lambda state: state.changed(item_factors=factors))

    @property
    def loss_history(self) -> list[float]:
        """The loss after each sweep."""
        return list(fitted(self._state).loss_history)

    @property
    def alpha_(self) -> float:
        """The alpha that was used."""
        return needed(self._state.chosen).alpha

    @property
    def regularization_(self) -> tuple[float, float]:
        """The regularization that was used, of users and of items."""
        return needed(self._state.chosen).regularization

    @property
    def unobserved_exponent_(self) -> tuple[float | None, float | None]:
        """The exponent of missing pairs that was used, of users and of items; None where weights were given."""
        users, items = (0.0 if side is None else side.exponent for side in fitted(self._state).unobserved)
        return users, items

    @property
    def solver_report_(self) -> dict[str, float]:
        """How the rows were solved: the attribute of the class above has its keys."""
        return dict(fitted(self._state).report)

    @property
    def feature_effects_(self) -> tuple[Array | None, Array | None]:
        """Effects (A, B) of the features of users and of items, (d, factors) float64; None where there are none."""
        users, items = (None if side is None else read_only(side.effects) for side in fitted(self._state).features)
        return users, items

    @property
    def feature_names_(self) -> FeatureNames:
        """Names of the features of users and of items; None where ``fit`` was given none."""
        return fitted(self._state).feature_names

    @property
    def unobserved_weights_(self) -> tuple[Array | None, Array | None]:
        """Weights (v, w) of the missing pairs of users and of items; None where all are 1."""
        users, items = (None if side is None else side.array for side in fitted(self._state).unobserved)
        return users, items

    @property
    def user_items_(self) -> sp.csr_array:
        """What the model was fitted to: canonical csr_array (n_users, n_items)."""
        return needed(self._state.history).oriented(0).as_csr(check_dtype(self.dtype))

    @property
    def interactions(self) -> Interactions:
        """Ids of users and items that were saved with the model; AttributeError if it has none. A fit drops them."""
        if self._state.interactions is None:
            raise AttributeError("this model has no interactions: load one that was saved with them")
        return cast(Interactions, self._state.interactions)

    def __sklearn_is_fitted__(self) -> bool:
        return self._state.history is not None

    def _fitted(self) -> Fitted:
        return Fitted(self, self._state)
