"""What scripts import from the library implicit (0.7): the model, the weights of pairs and the warning.

    from fastals.compat.implicit import AlternatingLeastSquares, bm25_weight

takes the place of ``from implicit.als import AlternatingLeastSquares`` and of ``from implicit.nearest_neighbours import
bm25_weight``. The function minimised, the lists and the files are those of implicit; it was written from implicit's
documentation and from what it answers, and shares no code with it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from fastals.compat import answers
from fastals.compat.matrices import ParameterWarning, as_csr, norms_of
from fastals.compat.npz import NAMES, read_npz, write_npz
from fastals.compat.weights import bm25_weight, tfidf_weight
from fastals.core.parameters import documented_by
from fastals.core.types import Array
from fastals.core.validation import check_dtype
from fastals.model import ImplicitALS

__all__ = ["AlternatingLeastSquares", "ParameterWarning", "bm25_weight", "tfidf_weight"]


class AlternatingLeastSquares:
    """implicit's model: ``sum c (phi - x)^2 + regularization (|P|^2 + |Q|^2)``, c = alpha r on stored pairs, 1 else.

    Parameters
    ----------
    factors, regularization, alpha, dtype, iterations, calculate_training_loss, num_threads, random_state
        As in implicit; ``num_threads=0`` takes all cores, ``dtype`` is float32 or float64.
    use_native : bool
        Stored; the compiled code always runs.
    use_cg : bool
        False solves every row directly, as there. True iterates to a relative error of 1e-3 instead of three steps.
    use_gpu : bool
        Refused if true.

    Attributes
    ----------
    user_factors, item_factors : (n, factors) arrays, None before ``fit``
        Read-only; assigning copies.

    Notes
    -----
    After ``fit`` the users are the exact answer to the items, which in implicit they were one half-sweep before. The
    start is drawn as there, so with ``use_cg=False`` the items agree up to rounding. Among equal scores the lower id
    comes first.
    """

    def __init__(
        self,
        factors: int = 100,
        regularization: float = 0.01,
        alpha: float = 1.0,
        dtype: Any = np.float32,
        use_native: bool = True,
        use_cg: bool = True,
        use_gpu: bool = False,
        iterations: int = 15,
        calculate_training_loss: bool = False,
        num_threads: int = 0,
        random_state: Any = None,
    ) -> None:
        if use_gpu:
            raise ValueError("use_gpu must be False: fastals runs on the CPU alone")
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.dtype = check_dtype(dtype)
        self.use_native = use_native
        self.use_cg = use_cg
        self.iterations = iterations
        self.calculate_training_loss = calculate_training_loss
        self.num_threads = num_threads
        self.random_state = random_state
        self._model = ImplicitALS(factors)

    def fit(
        self,
        user_items: Any,
        show_progress: bool = True,
        callback: Callable[[int, float, float | None], Any] | None = None,
    ) -> None:
        """Factorise a matrix of users by items.

        Parameters
        ----------
        user_items : sparse matrix (n_users, n_items)
            Confidences; a negative one is a dislike. Anything but CSR is converted, with a ParameterWarning.
        show_progress : bool
        callback : callable, optional
            ``callback(iteration, seconds, loss)`` after each; the loss is None unless ``calculate_training_loss``.

        Raises
        ------
        TypeError, ValueError
            For a matrix or parameters that do not fit.
        """
        rows = as_csr(user_items)
        users, items = self._start(rows.shape)
        model = self._fitted_with(ImplicitALS(users.shape[1]))
        model.iterations = self.iterations
        cells = rows.shape[0] * rows.shape[1] - rows.nnz
        total = float(self.alpha) * float(np.abs(rows.data).sum(dtype=np.float64)) + cells
        began = time.perf_counter()

        def called(_: Any, sweep: int, loss: float) -> None:
            nonlocal began
            assert callback is not None
            now = time.perf_counter()
            callback(sweep, now - began, loss / total if self.calculate_training_loss else None)
            began = now

        # Users first, as there: given items are what they are solved from, where given users would be kept.
        model.fit(
            rows, user_factors=None if self.iterations else users, item_factors=items,
            callback=called if callback else None, show_progress=show_progress,
        )  # fmt: skip
        self._model = model

    def _start(self, shape: tuple[int, int]) -> tuple[Array, Array]:
        """Factors to start from: those at hand that fit, or uniform ones below .01, drawn as implicit draws them."""
        random = self.random_state
        if isinstance(random, np.random.RandomState):
            random = np.random.default_rng(random.randint(2**31))
        random = np.random.default_rng(random)
        found = []
        for kept, n_rows in ((self.user_factors, shape[0]), (self.item_factors, shape[1])):
            if kept is not None and kept.shape == (n_rows, self.factors):
                found.append(kept.astype(self.dtype))
            else:
                found.append(random.random((n_rows, self.factors), dtype=self.dtype) * self.dtype.type(0.01))
        return found[0], found[1]

    @documented_by(answers.recommend)
    def recommend(
        self,
        userid: Any,
        user_items: Any,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        recalculate_user: bool = False,
        items: Any = None,
    ) -> tuple[Array, Array]:
        """Items of the highest scores for a user or several."""
        return answers.recommend(
            self._ready(), userid, user_items, N, filter_already_liked_items, filter_items, recalculate_user, items
        )

    @documented_by(answers.similar_items)
    def similar_items(
        self,
        itemid: Any,
        N: int = 10,
        recalculate_item: bool = False,
        item_users: Any = None,
        filter_items: Any = None,
        items: Any = None,
    ) -> tuple[Array, Array]:
        """Items of the smallest angle to one or several."""
        return answers.similar_items(self._ready(), itemid, N, recalculate_item, item_users, filter_items, items)

    @documented_by(answers.similar_users)
    def similar_users(
        self, userid: Any, N: int = 10, filter_users: Any = None, users: Any = None
    ) -> tuple[Array, Array]:
        """Users of the smallest angle to one or several."""
        return answers.similar_users(self._ready(), userid, N, filter_users, users)

    @documented_by(answers.explain)
    def explain(
        self, userid: int, user_items: Any, itemid: int, user_weights: Any = None, N: int = 10
    ) -> tuple[float, list[tuple[int, float]], tuple[Array, bool]]:
        """What each of the user's items contributes to a score."""
        return answers.explain(self._ready(), userid, user_items, itemid, user_weights, N)

    @documented_by(answers.recalculate, 0)
    def recalculate_user(self, userid: Any, user_items: Any) -> Array:
        """Factors solved from rows."""
        return answers.recalculate(self._ready(), 0, userid, user_items)

    @documented_by(answers.recalculate, 1)
    def recalculate_item(self, itemid: Any, item_users: Any) -> Array:
        """Factors solved from their users."""
        return answers.recalculate(self._ready(), 1, itemid, item_users)

    @documented_by(answers.partial_fit, 0)
    def partial_fit_users(self, userids: Any, user_items: Any) -> None:
        """Solve users from their rows and put them into the model, which grows where needed."""
        self.user_factors = answers.partial_fit(self._ready(), 0, userids, user_items)

    @documented_by(answers.partial_fit, 1)
    def partial_fit_items(self, itemids: Any, item_users: Any) -> None:
        """Solve items from their users and put them into the model, which grows where needed."""
        self.item_factors = answers.partial_fit(self._ready(), 1, itemids, item_users)

    def rank_items(
        self, userid: int, user_items: Any, selected_items: Any, recalculate_user: bool = False
    ) -> tuple[Array, Array]:
        """Deprecated there and here: ``recommend`` with ``items``.

        Parameters
        ----------
        userid : int
        user_items : csr_matrix (1, n_items) or (n_users, n_items)
        selected_items : array of int
        recalculate_user : bool

        Returns
        -------
        ids, scores : arrays as long as ``selected_items``

        Raises
        ------
        ValueError, IndexError
            As ``recommend``.
        """
        warnings.warn("rank_items is deprecated; use recommend with items", DeprecationWarning, stacklevel=2)
        row = user_items if user_items is None or user_items.shape[0] == 1 else user_items[userid]
        return self.recommend(
            userid, row, len(selected_items), False, recalculate_user=recalculate_user, items=selected_items
        )

    def recommend_all(
        self,
        user_items: Any,
        N: int = 10,
        recalculate_user: bool = False,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        users_items_offset: int = 0,
    ) -> Array:
        """Deprecated there and here: ids of ``recommend`` for all rows.

        Parameters
        ----------
        user_items : csr_matrix (n, n_items)
        N, recalculate_user, filter_already_liked_items, filter_items
            As ``recommend``.
        users_items_offset : int
            The user of the first row.

        Returns
        -------
        (n, N) array of int

        Raises
        ------
        ValueError, IndexError
            As ``recommend``.
        """
        warnings.warn(
            "recommend_all is deprecated; use recommend with an array of ids", DeprecationWarning, stacklevel=2
        )
        users = np.arange(user_items.shape[0]) + users_items_offset
        return self.recommend(users, user_items, N, filter_already_liked_items, filter_items, recalculate_user)[0]

    def save(self, fileobj_or_path: Any) -> None:
        """Write factors and parameters in NumPy's ``.npz``, to a path (which gets that ending) or a binary file object.

        implicit reads the file, and ``load`` reads implicit's.

        Parameters
        ----------
        fileobj_or_path : path or binary file object

        Raises
        ------
        OSError
            For a path that cannot be written.
        """
        values = {name: getattr(self, name) for name in NAMES if name != "cg_steps"}
        if not isinstance(self.random_state, (int, np.integer)):
            values["random_state"] = None
        write_npz(fileobj_or_path, {**values, "dtype": self.dtype.name, "cg_steps": 3})

    @classmethod
    def load(cls, fileobj_or_path: str | IO[bytes]) -> AlternatingLeastSquares:
        """Read what ``save`` wrote, without pickle.

        Parameters
        ----------
        fileobj_or_path : path or binary file object
            ``.npz`` may be left out.

        Returns
        -------
        AlternatingLeastSquares

        Raises
        ------
        OSError, ValueError
            For a file that cannot be read, or is damaged.
        """
        found = read_npz(fileobj_or_path)
        factors = {name: found.pop(name, None) for name in ("user_factors", "item_factors")}
        found.pop("cg_steps", None)
        model = cls(**found)
        model.user_factors, model.item_factors = factors["user_factors"], factors["item_factors"]
        return model

    def to_gpu(self) -> None:
        """Refused: fastals runs on the CPU alone.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError("to_gpu is not available: fastals runs on the CPU alone")

    @property
    def user_factors(self) -> Array | None:
        """Users' factors, None before ``fit``."""
        return self._factors("user_factors")

    @user_factors.setter
    def user_factors(self, value: Any) -> None:
        self._assign("user_factors", value)

    @property
    def item_factors(self) -> Array | None:
        """Items' factors, None before ``fit``."""
        return self._factors("item_factors")

    @item_factors.setter
    def item_factors(self, value: Any) -> None:
        self._assign("item_factors", value)

    @property
    def user_norms(self) -> Array:
        """Norms of the users' factors, at least 1e-10."""
        return norms_of(self._ready().user_factors)

    @property
    def item_norms(self) -> Array:
        """Norms of the items' factors, at least 1e-10."""
        return norms_of(self._ready().item_factors)

    @property
    def YtY(self) -> Array:  # noqa: N802
        """Gramian of the items."""
        Y = self._ready().item_factors
        return Y.T @ Y

    @property
    def XtX(self) -> Array:  # noqa: N802
        """Gramian of the users."""
        X = self._ready().user_factors
        return X.T @ X

    def _factors(self, name: str) -> Array | None:
        found: Array | None = getattr(self._model, name, None)  # NotFittedError is an AttributeError
        return found

    def _assign(self, name: str, value: Any) -> None:
        if value is None:
            self._model = _without(self._model, name)
        else:
            self._fitted_with(self._model)
            setattr(self._model, name, value)

    def _size(self, axis: int) -> int:
        model = self._ready()
        return len((model.user_factors, model.item_factors)[axis])

    def _fitted_with(self, model: ImplicitALS) -> ImplicitALS:
        """A model with the parameters as they are now."""
        model.factors, model.dtype = self.factors, self.dtype.name
        model.regularization, model.alpha, model.confidence = self.regularization, self.alpha, "raw"
        model.regularization_exponent = 0.0
        model.solver = "cg" if self.use_cg else "cholesky"
        model.num_threads = self.num_threads or None
        model.acceleration = False
        return model

    def _ready(self) -> ImplicitALS:
        return self._fitted_with(self._model)


def _without(model: ImplicitALS, name: str) -> ImplicitALS:
    """A model of the same factors but for one side, which it lacks."""
    other = "item_factors" if name == "user_factors" else "user_factors"
    fresh, kept = ImplicitALS(model.factors, dtype=model.dtype), getattr(model, other, None)
    if kept is not None:
        setattr(fresh, other, kept)
    return fresh
