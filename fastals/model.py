"""The model: a thin class over objective, solver, training and ranking."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastals.core.progress import progress_bar
from fastals.core.rows import Rows
from fastals.core.validation import (
    LARGEST_INT32,
    check_dtype,
    check_factors,
    check_ids,
    check_integer,
    check_random_state,
    check_rows,
    describe,
    is_auto,
    read_only,
)
from fastals.persistence.save_load import Persistence
from fastals.serving.recommend import Serving
from fastals.solver.half_sweep import full_loss
from fastals.solver.sides import build_sides
from fastals.solver.sweeps import Training, TrainingState

DRAWN_ROWS = 2**16
Callback = Callable[["ImplicitALS", int, float], Any]


class ImplicitALS(Serving, Persistence):
    """Implicit-feedback matrix factorisation by exact alternating least squares.

    Minimises, over ALL pairs of users and items,

        sum c_ui (phi_ui - p_u.q_i)^2 + sum_u lambda_u |p_u|^2 + sum_i lambda_i |q_i|^2

    where a pair that is not stored has confidence c = ``unobserved_weight`` and preference phi = 0, and a stored pair
    has phi = 1 if its value is positive and 0 if it is negative (a dislike), with a confidence that grows with the
    size of the value [1]_.

    Parameters
    ----------
    factors : int
        Number of latent factors.
    regularization : float or (float, float)
        Strength of the penalty, or one for users and one for items.
    alpha : float or "auto"
        Scale of the confidence of stored values. "auto" lets the mean stored pair weigh
        c0 (n_users n_items / stored)^1/2, whatever the scale of the values; it is kept as ``alpha_``.
    iterations : int
        Number of sweeps (at the most, if a callback stops earlier).
    unobserved_weight : float
        c0, the confidence of pairs that are not stored; may be 0.
    regularization_exponent : float
        lambda_u = regularization * (stored in row u + c0 * n_items)^exponent, likewise for items: 0 is a plain
        penalty, 1 scales it with the frequency [3]_.
    confidence : {"linear", "log", "raw"}
        Of a stored value r: c = c0 + alpha |r|, c = c0 + alpha log(1 + |r| / epsilon), or c = alpha |r| (as the
        library implicit has it).
    epsilon : float
        Scale of the logarithm.
    objective : {"hu", "rendle"}
        "hu" is the above. "rendle" is sum over stored w (1 - p.q)^2 + c0 * sum over ALL (p.q)^2, with w = alpha |r| or
        its log form [3]_.
    solver : {"cg", "cholesky"}
        Conjugate gradients in the Gramian's eigenbasis, up to ``tol`` [2]_, or direct solution.
    tol : float
        Error of a row relative to its size, both in the norm that the loss induces, at which conjugate gradients stop.
    max_cg_steps : int
        Rows that have not reached ``tol`` by then are solved directly in float64.
    dtype : {"float32", "float64"}
        Of the factors. Gramians, eigenproblems and the loss are float64 always.
    num_threads : int, optional
        Threads to use; all that Numba has by default. Results do not depend on it.
    random_state : int, Generator or RandomState, optional
        For the first users' factors.
    warm_start : bool
        Whether ``fit`` goes on from the factors of an earlier one.
    acceleration : bool or "auto"
        Whether to extrapolate the items' factors from sweep to sweep, guarded by the loss: about half as many sweeps
        for the same loss (see ``fastals.solver.sweeps``). "auto" does so unless ``fit`` is given factors to start from,
        so that given factors are followed by plain alternating least squares.

    Attributes
    ----------
    user_factors : (n_users, factors) array, read-only
    item_factors : (n_items, factors) array, read-only
    loss_history : list of float
        The loss after each sweep. On dense data users are solved once more in the end, which changes the loss by about
        ``tol`` squared, relatively.
    alpha_ : float
        The alpha that was used.
    user_items_ : csr_array (n_users, n_items)
        What the model was fitted to, in canonical form.
    solver_report_ : dict
        Of the last fit: ``cg_steps`` (mean a row, last sweep), ``fallback_rows`` and ``singular_rows`` (solved in
        float64, or only with a ridge of 1e-12 of the trace; summed over the half-sweeps).

    References
    ----------
    .. [1] Y. Hu, Y. Koren, C. Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.
    .. [2] G. Takacs, I. Pilaszy, D. Tikk, "Applications of the Conjugate Gradient Method for Implicit Feedback
       Collaborative Filtering", RecSys 2011.
    .. [3] S. Rendle, W. Krichene, L. Zhang, Y. Koren, "Revisiting the Performance of iALS on Item Recommendation
       Benchmarks", RecSys 2022.

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

    def __init__(
        self,
        factors: int = 64,
        *,
        regularization: float | tuple[float, float] = 0.5,
        alpha: float | str = "auto",
        iterations: int = 15,
        unobserved_weight: float = 1.0,
        regularization_exponent: float = 0.5,
        confidence: str = "linear",
        epsilon: float = 1.0,
        objective: str = "hu",
        solver: str = "cg",
        tol: float = 1e-3,
        max_cg_steps: int = 50,
        dtype: Any = "float32",
        num_threads: int | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        acceleration: bool | str = "auto",
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.unobserved_weight = unobserved_weight
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

    def fit(
        self,
        user_items: Any,
        *,
        preference: Any = None,
        user_factors: Any = None,
        item_factors: Any = None,
        callback: Callback | None = None,
        show_progress: bool = False,
        resume_from: TrainingState | None = None,
    ) -> ImplicitALS:
        """Fit the factors.

        Parameters
        ----------
        user_items : sparse matrix or array (n_users, n_items)
            Rows are users. Left unchanged. Duplicates are summed; stored zeros are no observations and are dropped.
        preference : sparse matrix or array, optional
            phi of every stored pair, on the same pattern. The model does not keep it: in fold-in, partial updates and
            ``explain`` phi follows from the sign of the values.
        user_factors, item_factors : arrays (n_users, factors), (n_items, factors), optional
            The start. A sweep solves the items first, from the users' factors; given only ``item_factors``, the users
            are solved from them before.
        callback : callable, optional
            ``callback(model, sweep, loss)`` after each sweep, counted from 0; fitting stops if it returns True.
            ``model.user_factors`` and ``model.item_factors`` are the current ones; copy what is to be kept.
        show_progress : bool
            Whether to show a progress bar (with tqdm, if it is installed).
        resume_from : TrainingState, optional
            What a callback of an earlier fit to the same data got from ``training_state``: goes on to the sweep
            ``iterations``, bit for bit as if there had been no break; takes the place of any other start.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For arguments or parameters that do not fit. As after any other error, an earlier fit stays as it was.
        FloatingPointError
            Where rows have no finite solution, or factors, their products or the loss overflow.

        Notes
        -----
        On KeyboardInterrupt the model is left as the last finished half-sweep made it; before the first of them is
        finished, an earlier fit stays as it was.
        """
        settings = self._checked_settings()
        objective = self._checked_objective(alpha=1.0 if is_auto(self.alpha) else self.alpha)
        iterations = check_integer("iterations", self.iterations, 0)
        if not isinstance(self.acceleration, bool) and not is_auto(self.acceleration):
            raise ValueError(f"acceleration must be True, False or 'auto'; got {describe(self.acceleration)}")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable; got {describe(callback)}")
        rows, phi = check_rows(user_items, "user_items", preference=preference, allow_empty=False)
        if is_auto(self.alpha):
            objective = objective.with_alpha_for(rows)
        dtype = check_dtype(self.dtype)
        start = self._first_factors(rows.shape, dtype, user_factors, item_factors)
        users, items = build_sides(objective, rows, phi, dtype)
        given = user_factors is not None or item_factors is not None
        accelerated = not given if is_auto(self.acceleration) else bool(self.acceleration)
        training = Training(objective, settings, users, items, *start, accelerated=accelerated)
        if resume_from is not None:
            training.restore(resume_from)
        before = self.__dict__.copy()
        try:
            if user_factors is None and item_factors is not None and resume_from is None:
                training.solve_users()
            self._adopt(training, rows)
            with progress_bar(iterations - len(training.loss_history), show_progress) as advance:
                for sweep in range(len(training.loss_history), iterations):
                    loss = training.sweep()
                    self._adopt(training, rows)
                    advance(loss)
                    if callback is not None and callback(self, sweep, loss) is True:
                        break
            if self._holds_factors_of(training) and training.finish():
                self._adopt(training, rows)
            training.check_products()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and training.advanced:
                self._adopt(training, rows)
            else:
                self.__dict__.clear()
                self.__dict__.update(before)
            raise
        finally:
            self.__dict__.pop("_training", None)
            del training, users, items
            if self.__dict__.get("_rows") is rows:
                self._rows = rows.apart_from(user_items)
        singular = self.solver_report_["singular_rows"]
        if singular:
            warnings.warn(
                f"{singular} row solutions were not determined by the data (regularization too small for them); "
                "of all solutions they were given the one of least norm, up to rounding errors",
                RuntimeWarning,
                stacklevel=2,
            )
        return self

    def loss(self, user_items: Any, *, preference: Any = None) -> float:
        """Value of the objective for the current factors on any interactions of the same shape.

        Parameters
        ----------
        user_items, preference
            As for ``fit``.

        Returns
        -------
        float
            In float64: the sum over ALL pairs, and the regularisation.

        Raises
        ------
        TypeError, ValueError
            For a matrix that does not fit.
        FloatingPointError
            Where the loss overflows float64.
        NotFittedError
            Before ``fit``.
        """
        objective, settings = self._checked_objective(), self._checked_settings()
        P, Q = self._matching_factors()
        rows, phi = check_rows(user_items, "user_items", shape=(P.shape[0], Q.shape[0]), preference=preference)
        users, items = build_sides(objective, rows, phi, np.dtype(np.float64))
        return full_loss(users, P, Q, items.regularization, objective, settings.num_threads)

    def predict(self, user: Any, item: Any) -> Any:
        """Score p_u.q_i of users and items.

        Parameters
        ----------
        user, item : int or (n,) array of int
            Broadcast against each other.

        Returns
        -------
        float or (n,) array

        Raises
        ------
        TypeError, ValueError
            For ids that are not integers or out of range.
        NotFittedError
            Before ``fit``.
        """
        P, Q = self._matching_factors()
        users, items = check_ids(user, "user", P.shape[0]), check_ids(item, "item", Q.shape[0])
        if users.ndim == items.ndim == 1 and 1 != users.size != items.size != 1:
            raise ValueError(f"user and item must have equal lengths; got {users.size} and {items.size}")
        return np.einsum("...k,...k->...", P[users], Q[items])[()]

    def _first_factors(
        self, shape: tuple[int, int], dtype: np.dtype, user_factors: Any, item_factors: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Factors to start from: the given ones, those of an earlier fit with ``warm_start``, or random ones."""
        factors = check_integer("factors", self.factors, 1, LARGEST_INT32)
        user_shape, item_shape = (shape[0], factors), (shape[1], factors)
        if self.warm_start and user_factors is None and item_factors is None:
            user_factors, item_factors = (self.__dict__.get(name) for name in ("_user_factors", "_item_factors"))
        P = None if user_factors is None else check_factors(user_factors, "user_factors", user_shape, dtype)
        Q = None if item_factors is None else check_factors(item_factors, "item_factors", item_shape, dtype)
        random = check_random_state(self.random_state)
        if P is None:
            P = np.zeros(user_shape, dtype)
            if Q is None:
                for first in range(0, user_shape[0], DRAWN_ROWS):  # an interrupt is heard in between
                    random.standard_normal(dtype=dtype, out=P[first : first + DRAWN_ROWS])
                P *= dtype.type(0.1 / np.sqrt(factors))
        return P, np.zeros(item_shape, dtype) if Q is None else Q

    def _holds_factors_of(self, training: Training) -> bool:
        """Whether no callback has given the model other factors."""
        P, Q = training.user_factors, training.item_factors
        return np.may_share_memory(self._user_factors, P) and np.may_share_memory(self._item_factors, Q)

    def _adopt(self, training: Training, rows: Rows) -> None:
        """Take over the factors and reports of a training under way."""
        self._user_factors, self._item_factors = read_only(training.user_factors), read_only(training.item_factors)
        self._rows, self._training, self.alpha_ = rows, training, training.objective.alpha
        self.loss_history = list(training.loss_history)
        self.solver_report_ = training.summary()
        self.__dict__.pop("interactions", None)
