"""The whole job on one screen: data, fit, loss, what was found, recommendations, and how good they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastals.cli import show
from fastals.cli.judging import held_out_metrics, split
from fastals.datasets.synthetic import make_interactions

if TYPE_CHECKING:
    from fastals.model import ImplicitALS
    from fastals.tables.interactions import Interactions

__all__ = ["run_demo"]

_NEIGHBOURS = 10


def run_demo(model: ImplicitALS, seed: int, interactions: Interactions | None = None) -> None:
    """Run the demo on the given data, or on generated data with planted groups of taste."""
    made = None
    if interactions is None:
        made = make_interactions(8_000, 3_000, n_groups=12, mean_per_user=40, random_state=seed)
        interactions = made.interactions
        interactions.source = "generated: play counts, power-law items, log-normal users, 12 planted groups of taste"
    show.summary(interactions)
    train, test = split(interactions, 0.2, seed)
    show.line("Fitting to 80 % of the interactions; the rest is held out.")
    show.train(model, train)
    show.fitted(model)
    if made is not None:
        _show_groups(model, train, made.user_groups, made.item_groups)
    _show_examples(model, interactions, train, made.item_groups if made else None, made.user_groups if made else None)
    held_out_metrics(model, train, test, 20)
    if made is not None:
        show.line("Next, with your own data: fastals fit FILE, then fastals recommend USER.")


def _show_groups(model: ImplicitALS, train: Any, user_groups: np.ndarray, item_groups: np.ndarray) -> None:
    """Share of same-group items among the nearest neighbours and the recommendations, against chance."""
    known = np.flatnonzero(np.bincount(train.indices, minlength=train.shape[1]) > 0)
    ids, _ = model.similar_items(known, N=_NEIGHBOURS + 1)
    others = (ids >= 0) & (ids != known[:, None])
    neighbours = (item_groups[ids] == item_groups[known][:, None])[others].mean()
    users = np.flatnonzero(np.diff(train.indptr) > 0)
    ids, _ = model.recommend(users, N=_NEIGHBOURS)
    recommended = (item_groups[ids] == user_groups[users][:, None])[ids >= 0].mean()
    chance = (np.bincount(item_groups) / item_groups.size) ** 2
    show.metrics(
        "Were the planted groups found? (they were not shown to the model)",
        {
            "fastals": {"neighbours": neighbours, "recommended": recommended},
            "chance": {"neighbours": chance.sum(), "recommended": chance.sum()},
        },
        {
            "neighbours": f"share of an item's {_NEIGHBOURS} nearest that are of its group",
            "recommended": f"share of a user's {_NEIGHBOURS} recommendations that are of the user's group",
        },
    )


def _show_examples(
    model: ImplicitALS,
    interactions: Interactions,
    train: Any,
    item_groups: np.ndarray | None,
    user_groups: np.ndarray | None,
) -> None:
    """Neighbours of the most popular item, and recommendations for the user with a median number of items."""

    def name_items(columns: np.ndarray) -> list[str]:
        groups = [""] * len(columns) if item_groups is None else [f" (group {one})" for one in item_groups[columns]]
        return [f"{one}{group}" for one, group in zip(interactions.item_ids[columns], groups, strict=True)]

    popular = int(np.argmax(np.bincount(train.indices, minlength=train.shape[1])))
    ids, cosines = model.similar_items(popular, N=6)
    others = ids != popular
    title = f"Nearest to the most popular item, {name_items(np.array([popular]))[0]}"
    show.scores(title, "item", name_items(ids[others][:5]), cosines[others][:5], "cosine")

    user = int(np.argsort(np.diff(train.indptr), kind="stable")[train.shape[0] // 2])
    ids, numbers = model.recommend(user, N=5)
    group = "" if user_groups is None else f" (group {user_groups[user]})"
    title = f"For user {interactions.user_ids[user]}{group}, who has {train[[user]].nnz} items"
    show.scores(title, "item", name_items(ids), numbers)
