"""Runs cases: one by its seed, or as many as fit into the time; counts, and tells how to replay what failed."""

from __future__ import annotations

import argparse
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .checks import Checks
from .choices import Choices
from .files import check_checkpoint, check_files
from .fits import check_fit
from .fold_in import check_fold_in, check_partial_fit
from .scaling import check_light, check_scale
from .serving import check_serving
from .starts import check_forms, check_starts
from .tables import check_metrics, check_tables
from .threads import check_threads
from .top_items import check_top_items

Kind = Callable[[Choices, Checks], None]
# Every kind of case and how often it is drawn.
KINDS: dict[str, tuple[Kind, float]] = {
    "fit": (check_fit, 30),
    "fold_in": (check_fold_in, 15),
    "partial_fit": (check_partial_fit, 8),
    "scale": (check_scale, 8),
    "light": (check_light, 6),
    "serving": (check_serving, 8),
    "forms": (check_forms, 6),
    "starts": (check_starts, 3),
    "top_items": (check_top_items, 15),
    "files": (check_files, 4),
    "checkpoint": (check_checkpoint, 4),
    "tables": (check_tables, 4),
    "metrics": (check_metrics, 3),
    "threads": (check_threads, 0.5),
}
PROGRESS_SECONDS = 60


@dataclass
class Case:
    """A case that has been run."""

    seed: int
    kind: str
    checks: Checks
    seconds: float

    @property
    def failed(self) -> bool:
        return bool(self.checks.failures)

    def __str__(self) -> str:
        lines = [f"case {self.seed} ({self.kind}), {self.seconds:.3f} s: {len(self.checks.failures)} failures"]
        lines += [f"  FAILED {failure}" for failure in self.checks.failures]
        lines += [f"  {self.checks.description}", f"  replay: python -m tests.siege --case {self.seed}"]
        return "\n".join(lines)


def kind_of(seed: int) -> str:
    """The kind that a seed stands for."""
    return Choices(seed).weighted("kind", {name: weight for name, (_, weight) in KINDS.items()})


def run_case(seed: int) -> Case:
    """Run one case; an exception that it does not expect is a failure, too."""
    kind, checks, start = kind_of(seed), Checks(), time.perf_counter()
    try:
        KINDS[kind][0](Choices(seed), checks)
    except Exception:
        checks.failures.append("raised:\n" + traceback.format_exc())
    return Case(seed, kind, checks, time.perf_counter() - start)


def seeds_of(first: int, only: str | None) -> Iterator[int]:
    """Seeds from the first on, without end; those of one kind, if ``only`` names it."""
    seed = first
    while True:
        if only is None or kind_of(seed) == only:
            yield seed
        seed += 1


@dataclass
class Tally:
    """What a run has seen."""

    cases: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    failed: dict[str, list[int]] = field(default_factory=dict)
    claims: Counter[str] = field(default_factory=Counter)
    nearest: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, case: Case) -> None:
        self.cases[case.kind] += 1
        self.seconds[case.kind] += case.seconds
        self.claims += case.checks.counts
        if case.failed:
            self.failed.setdefault(case.kind, []).append(case.seed)
        for name, ratio in case.checks.nearest.items():
            if ratio > self.nearest.get(name, (-1.0, 0))[0]:
                self.nearest[name] = ratio, case.seed

    def __str__(self) -> str:
        lines = ["", "kind             cases    a second  failed"]
        for kind, count in sorted(self.cases.items()):
            rate, failed = count / max(self.seconds[kind], 1e-9), self.failed.get(kind, [])
            lines.append(f"{kind:<15}{count:>8}{rate:>11.1f}{len(failed):>8}  {' '.join(map(str, failed[:20]))}")
        lines += ["", "claim                                          times  nearest to its limit (case)"]
        for name, count in sorted(self.claims.items()):
            near = "{:10.2g} ({})".format(*self.nearest[name]) if name in self.nearest else ""
            lines.append(f"{name:<42}{count:>10}{near}")
        return "\n".join(lines)


def run(seconds: float, first: int, only: str | None, stop_after: int) -> Tally:
    """Run cases until the time is over, or so many have failed; prints failures at once and progress now and then."""
    tally, start = Tally(), time.monotonic()
    told = start
    for seed in seeds_of(first, only):
        now = time.monotonic()
        if now - start >= seconds:
            break
        case = run_case(seed)
        tally.add(case)
        if case.failed:
            print(case, flush=True)
            if sum(map(len, tally.failed.values())) >= stop_after:
                break
        if now - told >= PROGRESS_SECONDS:
            told = now
            print(f"{now - start:.0f} s: {sum(tally.cases.values())} cases, next seed {seed + 1}", flush=True)
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.siege", description="Random problems against an oracle.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run")
    parser.add_argument("--seed", type=int, default=0, help="the first case; the others follow")
    parser.add_argument("--case", type=int, help="run this case alone")
    parser.add_argument("--only", choices=KINDS, help="cases of one kind")
    parser.add_argument("--failures", type=int, default=1000, help="stop after so many failed cases")
    options = parser.parse_args(arguments)
    if options.case is not None:
        case = run_case(options.case)
        print(case)
        return int(case.failed)
    tally = run(options.seconds, options.seed, options.only, options.failures)
    print(tally)
    return int(bool(tally.failed))
