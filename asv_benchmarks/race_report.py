"""Turns the runs of the race into medians, tables and the verdict on its targets."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from typing import Any

Runs = list[dict[str, Any]]
NEAR = {"0.5 %": 1.005, "0.1 %": 1.001}
# Whose sweeps do the same work.
SWEEPS = (
    "fastals-cg:1e-4", "irspack-cg", "implicit-cg", "fastals-cholesky", "irspack-cholesky", "implicit-cholesky",
)  # fmt: skip


def cells(runs: Runs) -> list[tuple[str, int]]:
    """The (data set, factors) pairs raced, in order."""
    return list(dict.fromkeys((run["data"], run["factors"]) for run in runs))


def of(runs: Runs, **wanted: Any) -> Runs:
    """The runs whose fields have the wanted values."""
    return [run for run in runs if all(run[key] == value for key, value in wanted.items())]


def best_loss(runs: Runs, data: str, factors: int) -> float:
    """The least loss anyone reached on a data set with that many factors."""
    return min(min([run["last_loss"], *run["losses"]]) for run in of(runs, data=data, factors=factors))


def losses(runs: Runs, run: dict[str, Any]) -> list[float]:
    """Loss after each sweep; a repeat has the start, and so the losses, of its contender's evaluated run."""
    twins = of(runs, data=run["data"], factors=run["factors"], contender=run["contender"])
    return next((twin["losses"] for twin in twins if twin["losses"]), [])


def sweep_seconds(run: dict[str, Any]) -> float:
    """Median of the sweeps after the first, which holds the transpose and warms the caches."""
    spans = [b - a for a, b in zip(run["seconds"], run["seconds"][1:], strict=False)]
    return statistics.median(spans) if spans else run["seconds"][0]


def sweeps_to(runs: Runs, run: dict[str, Any], near: float) -> int | None:
    """The first sweep whose loss is at most ``near`` times the best of all; None if there is none."""
    goal = near * best_loss(runs, run["data"], run["factors"])
    return next((n for n, loss in enumerate(losses(runs, run), 1) if loss <= goal), None)


def seconds_to(runs: Runs, run: dict[str, Any], near: float) -> float | None:
    """Solver seconds up to and with that sweep, and what the library does after its last one."""
    n = sweeps_to(runs, run, near)
    return None if n is None or n > len(run["seconds"]) else run["seconds"][n - 1] + run["tail"]


def median(values: Iterable[float | None]) -> float | None:
    """Median where a missing value (a goal not reached) is longer than any other; None if the median is missing."""
    middle = statistics.median([math.inf if value is None else value for value in values] or [math.inf])
    return None if math.isinf(middle) else middle


def paired(runs: Runs, measure: Callable[[dict[str, Any]], float | None], ours: str, theirs: list[str]) -> float | None:
    """Median over repeats of (the best of theirs) / ours, each ratio within one repeat."""
    ratios = []
    for mine in of(runs, contender=ours):
        rivals = [measure(run) for run in of(runs, repeat=mine["repeat"]) if run["contender"] in theirs]
        known, own = [value for value in rivals if value is not None], measure(mine)
        ratios.append(min(known) / own if known and own is not None else None)
    return median(ratios)


def table(runs: Runs) -> str:
    """One row a contender, medians of the repeats; in brackets the number of sweeps."""
    near = [f"s to {share}" for share in NEAR]
    rows = [["data", "k", "contender", "s a sweep", *near, "final gap", "peak MiB", "fit MiB"]]
    for data, factors in cells(runs):
        best = best_loss(runs, data, factors)
        here = of(runs, data=data, factors=factors)
        for contender in dict.fromkeys(run["contender"] for run in here):
            own = of(here, contender=contender)
            reached = []
            for share in NEAR.values():
                seconds, n = median(seconds_to(runs, run, share) for run in own), sweeps_to(runs, own[0], share)
                spent = max(run["seconds"][-1] for run in own)
                reached.append(f"{seconds:.2f} ({n})" if seconds is not None else f"> {spent:.3g}")
            curve = losses(runs, own[0])
            peak = statistics.median(run["memory_peak_mib"] for run in own)
            grown = statistics.median(run["memory_peak_mib"] - run["memory_before_mib"] for run in own)
            sweep = statistics.median(sweep_seconds(run) for run in own)
            gap = f"{100 * (min(curve) / best - 1):.3f} %" if curve else ""
            rows.append([data, str(factors), contender, f"{sweep:.3f}", *reached, gap, f"{peak:.0f}", f"{grown:.0f}"])
    return aligned(rows)


def targets(runs: Runs) -> str:
    """The aims of the race, each beside what was measured; a ratio above 1 is in favour of fastals."""
    rows = [["data", "k", "aim", "wanted", "got", ""]]
    for data, factors in cells(runs):
        here = of(runs, data=data, factors=factors)
        peers = [name for name in {run["contender"] for run in here} if not name.startswith("fastals")]

        def to_near(run: dict[str, Any]) -> float | None:
            return seconds_to(runs, run, NEAR["0.1 %"])

        cholesky = {"ml-1m-ncf": 2.0, "gowalla": 4.0}.get(data) if factors <= 128 else None
        aims = [
            ("0.1 % of the best loss: best peer / fastals", 5.0, paired(here, to_near, "fastals", peers)),
            ("sweep: irspack-cg / fastals at tol 1e-4", 1.0 if factors <= 128 else 1 / 0.6,
             paired(here, sweep_seconds, "fastals-cg:1e-4", ["irspack-cg"])),
            ("sweep: implicit-cg / fastals at tol 1e-4", 2.0,
             paired(here, sweep_seconds, "fastals-cg:1e-4", ["implicit-cg"])),
            ("sweep: irspack-cholesky / fastals-cholesky", cholesky,
             paired(here, sweep_seconds, "fastals-cholesky", ["irspack-cholesky"])),
            ("sweep: implicit-cholesky / fastals-cholesky", 8.0,
             paired(here, sweep_seconds, "fastals-cholesky", ["implicit-cholesky"])),
        ]  # fmt: skip
        for aim, wanted, got in aims:
            if got is not None:
                verdict = "" if wanted is None else "met" if got >= wanted else "NOT MET"
                rows.append([data, str(factors), aim, f"{wanted:.2f}" if wanted else "", f"{got:.2f}", verdict])
    return aligned(rows)


def summary(runs: Runs) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a table that is published: seconds until the loss is within 0.1 % of the best."""
    rows = []
    for data, factors in cells(runs):
        here = of(runs, data=data, factors=factors)
        peers = sorted({run["contender"] for run in here if not run["contender"].startswith("fastals")})
        reached = {
            name: median(seconds_to(runs, run, NEAR["0.1 %"]) for run in of(here, contender=name))
            for name in ("fastals", *peers)
        }
        home = {name: reached[name] for name in peers if reached[name] is not None}
        best = min(home, key=lambda name: home[name]) if home else None
        own = reached["fastals"]
        row = [data, factors, None if own is None else f"{own:.2f}", f"{home[best]:.2f}" if best else None, best]
        rows.append([*row, f"{home[best] / own:.1f}" if best and own else None])
    return ["data", "factors", "fastals, s", "best peer, s", "which", "times as long"], rows


def sweep_summary(runs: Runs) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a table that is published: milliseconds of a sweep."""
    rows = []
    for data, factors in cells(runs):
        here = of(runs, data=data, factors=factors)
        sweeps = [median(sweep_seconds(run) for run in of(here, contender=kind)) for kind in SWEEPS]
        rows.append([data, factors, *(None if seconds is None else round(1000 * seconds) for seconds in sweeps)])
    libraries = ["fastals", "irspack", "implicit"]
    return ["data", "factors", *(f"{name}, {kind}" for kind in ("CG", "direct") for name in libraries)], rows


def curves(runs: Runs, factors: int) -> list[dict[str, Any]]:
    """What the plot draws: the gap to the best loss after each sweep at the median time of that sweep."""
    drawn = []
    for data in dict.fromkeys(run["data"] for run in runs):
        here = of(runs, data=data, factors=factors)
        for contender in dict.fromkeys(run["contender"] for run in here):
            own = of(here, contender=contender)
            curve, best = losses(runs, own[0]), best_loss(runs, data, factors)
            # Median times as far as every repeat went; from there on the evaluated run, scaled to continue them.
            shared = min(len(run["seconds"]) for run in own)
            times = [statistics.median(run["seconds"][n] for run in own) for n in range(shared)]
            scale = times[-1] / own[0]["seconds"][shared - 1]
            times += [scale * seconds for seconds in own[0]["seconds"][shared:]]
            tail = statistics.median(run["tail"] for run in own)
            drawn.append(
                {
                    "data": data,
                    "contender": contender,
                    "seconds": [x + tail for x in times],
                    "gap": [x / best - 1 for x in curve],
                }
            )
    return drawn


def aligned(rows: list[list[str]]) -> str:
    """A Markdown table with padded columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])
