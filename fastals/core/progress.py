"""Progress displays: tqdm where it is installed, lines where it is not."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(total: int, shown: bool) -> Iterator[Callable[[float], None]]:
    """Yield a function to call with the loss after each sweep.

    Parameters
    ----------
    total : int
        Number of sweeps expected.
    shown : bool
        Whether anything is to be displayed.
    """
    if not shown:
        yield lambda loss: None
        return
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        done = 0

        def report(loss: float) -> None:
            nonlocal done
            done += 1
            print(f"sweep {done}/{total}: loss {loss:.6g}", file=sys.stderr)

        yield report
        return
    with tqdm(total=total, unit="sweep") as bar:

        def advance(loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.6g}")
            bar.update()

        yield advance


@contextlib.contextmanager
def stage_bar(shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function to call with the name of a stage, how much of it is done, and how much there is to do.

    Parameters
    ----------
    shown : bool
        Whether anything is to be displayed.
    """
    if not shown:
        yield lambda name, done, total: None
        return
    present: str | None = None
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:

        def report(name: str, done: int, total: int) -> None:
            nonlocal present
            if name != present:
                present = name
                print(f"{name} ...", file=sys.stderr)

        yield report
        return
    with tqdm(unit_scale=True) as bar:

        def show(name: str, done: int, total: int) -> None:
            nonlocal present
            if name != present:
                present = name
                bar.reset(total)
                bar.set_description(name)
            bar.update(done - bar.n)

        yield show
