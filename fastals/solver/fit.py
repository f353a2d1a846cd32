"""A fit, from what it is given to the state that takes the place of the one before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastals.core.overlay import History
from fastals.core.state import State
from fastals.core.validation import check_integer
from fastals.solver.fitting import Callback, Given, final_state, prepare, run


def fit(
    parameters: Any,
    before: State,
    given: Given,
    callback: Callback | None,
    show_progress: bool | None,
    resume_from: Any,
    adopt: Callable[[State], None],
) -> None:
    """Fit the factors.

    Until ``fit`` is done the model keeps its earlier state, for other threads too; after an error it still has it.
    On KeyboardInterrupt it takes over what the last finished half-sweep made, if there was one.

    Parameters
    ----------
    user_items : sparse matrix or array (n_users, n_items), or InteractionStore
        Rows are users. Left unchanged. Duplicates are summed; stored zeros are not observations and are dropped.
        A store is read from its files, as often as there are sweeps, and is not taken into memory.
    preference : sparse matrix or array, optional
        phi of every stored pair, on the same pattern. The model does not keep it: in fold-in, partial updates and
        ``explain`` phi follows from the sign of the values.
    unobserved_weights : pair of (n_users,) and (n_items,) arrays or None, optional
        v and w, taken as they are, in the place of ``unobserved_exponent``; not negative, None for all 1. Users or
        items that come later get the mean.
    user_features, item_features : arrays or sparse matrices (n_users, d), (n_items, d'), optional
        What is known of users and items besides their pairs; rows of the same order. The model keeps them. A user or
        item without any pair is solved like all others, from its features and its missing pairs; where these have the
        weight 0 (see ``unobserved_weights``), it has the factors that its features predict.
    user_factors, item_factors : arrays (n_users, factors), (n_items, factors), optional
        The start. A sweep solves the items first, from the users' factors; given only ``item_factors``, the users
        are solved from them before.
    callback : callable, optional
        ``callback(model, sweep, loss)`` after each sweep, counted from 0; fitting stops if it returns True. The
        model that it is given is another object than this one: it has the current factors and can be asked
        anything, until the callback returns. Factors read from it stay valid.
    show_progress : bool, optional
        Whether to show a progress bar (with tqdm, if it is installed). By default it is shown on a terminal, once
        the first sweeps say that the fit will take ten seconds or more.
    resume_from : TrainingState, optional
        What a callback of an earlier fit to the same data got from ``training_state``, instead of any other start:
        goes on to the sweep ``iterations``, bit for bit as if there had been no break.

    Returns
    -------
    self

    Raises
    ------
    TypeError, ValueError
        For arguments or parameters that do not fit, or a callback that returns neither a Boolean nor None.
    FloatingPointError
        Where rows have no finite solution, or factors, their products or the loss overflow.
    """
    iterations = check_integer("iterations", parameters.iterations, 0)
    training, rows = prepare(parameters, before, given)
    if resume_from is not None:
        training.restore(resume_from)
    try:
        put_in = run(training, rows, iterations, callback, show_progress)
    except KeyboardInterrupt:
        if training.advanced:
            adopt(final_state(training, rows.apart_from(given.user_items)))
        raise
    state = final_state(training, rows)
    del training  # before the rows may have to be copied
    adopt(state.changed(history=History(rows.apart_from(given.user_items)), **put_in))
