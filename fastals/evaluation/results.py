"""The result of an evaluation: a mapping of means, with the values of every user behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from fastals.core.validation import check_integer


class RankingMetrics(Mapping[str, float]):
    """Means over users of ranking metrics, a read-only mapping from name to float.

    Attributes
    ----------
    K : int
        Length of the rankings.
    per_user : dict of str to float64 array (n_users,)
        Value of each metric for each evaluated user, in the order of `users`. NaN where a metric has no value for a
        user (AUC with nothing to compare, novelty of an empty list); such users are left out of that mean alone.
        Coverage belongs to the whole of the rankings and is not in it.
    users : int64 array (n_users,)
        Row numbers of the evaluated users.
    n_test : int64 array (n_users,)
        Relevant items of each evaluated user.
    n_skipped : int
        Requested users without a relevant item; excluded from all means.
    sampled : int or None
        Negatives drawn for each user if the metrics come from sampled candidates, None if all items were ranked.
    """

    def __init__(
        self,
        K: int,
        per_user: dict[str, np.ndarray],
        users: np.ndarray,
        n_test: np.ndarray,
        *,
        n_skipped: int = 0,
        coverage: float | None = None,
        sampled: int | None = None,
    ):
        self.K = K
        self.per_user = per_user
        self.users = users
        self.n_test = n_test
        self.n_skipped = n_skipped
        self.sampled = sampled
        self._means = {name: _mean(values) for name, values in per_user.items()}
        if coverage is not None:
            self._means["coverage"] = coverage

    def __getitem__(self, name: str) -> float:
        if name in self._means:
            return self._means[name]
        hint = ": AUC scores every item, ask for it with auc=True" if name == "auc" else ""
        raise KeyError(f"no metric {name!r} among {', '.join(self._means)}{hint}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._means)

    def __len__(self) -> int:
        return len(self._means)

    def __repr__(self) -> str:
        kind = "ranked over all items" if self.sampled is None else f"SAMPLED, {self.sampled} negatives"
        lines = [f"RankingMetrics at K={self.K}, {len(self.users)} users ({self.n_skipped} skipped), {kind}"]
        errors = self.stderr
        for name, mean in self.items():
            spread = f" +- {errors[name]:.4f}" if name in errors else ""
            lines.append(f"  {name:<16} {mean:.4f}{spread}")
        return "\n".join(lines)

    @property
    def n_users(self) -> int:
        """Number of evaluated users."""
        return len(self.users)

    @property
    def stderr(self) -> dict[str, float]:
        """Standard error of each mean over users, s / sqrt(n) with s the sample deviation; NaN for a single user.

        It measures how far the mean would move with other users of the same kind, not with another training run.
        """
        errors = {}
        for name, values in self.per_user.items():
            values = values[~np.isnan(values)]
            errors[name] = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
        return errors

    def confidence_interval(
        self,
        name: str,
        confidence_level: float = 0.95,
        *,
        n_resamples: int = 1000,
        random_state: int | np.random.Generator | None = None,
    ) -> tuple[float, float]:
        """Bootstrap confidence interval of a mean, users being resampled with replacement.

        Parameters
        ----------
        name : str
            A key of `per_user`.
        confidence_level : float, default 0.95
            Between 0 and 1.
        n_resamples : int, default 1000
            Bootstrap samples.
        random_state : int, numpy.random.Generator or None
            Seed of the resampling.

        Returns
        -------
        low, high : float
            The percentile interval (Efron and Tibshirani 1993, chapter 13); NaN where no user has a value.

        Raises
        ------
        KeyError
            For a metric without values per user.
        TypeError, ValueError
            For a level or a number of resamples out of range.
        """
        if name not in self.per_user:
            raise KeyError(f"no values per user for {name!r}; there are {', '.join(self.per_user)}")
        if not 0 < confidence_level < 1:
            raise ValueError(f"confidence_level must be between 0 and 1, got {confidence_level!r}")
        n_resamples = check_integer("n_resamples", n_resamples, 1)
        values = self.per_user[name]
        values = values[~np.isnan(values)]
        if not len(values):
            return float("nan"), float("nan")
        rng = np.random.default_rng(random_state)
        means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(n_resamples)])
        low, high = np.quantile(means, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
        return float(low), float(high)


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are numbers; NaN if there is none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
