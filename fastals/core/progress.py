"""Progress displays: tqdm where it is installed, lines where it is not."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

LONG = 10.0  # seconds of a fit from which on it is displayed unasked
WORTH_IT = 1.0  # seconds that must be left then


@contextlib.contextmanager
def progress_bar(total: int, shown: bool | None) -> Iterator[Callable[[float], None]]:
    """Yield a function to call with the loss after each sweep.

    Parameters
    ----------
    total : int
        Number of sweeps expected.
    shown : bool, optional
        Whether anything is to be displayed. None: on a terminal alone, and there once the fit is expected to take
        ``LONG`` seconds in all. What is left is judged by the last sweep, of the second at the earliest, since the
        first may have compiled.
    """
    began = before = time.monotonic()
    watched = shown is None and sys.stderr is not None and sys.stderr.isatty()
    done = 0
    with contextlib.ExitStack() as stack:
        show = stack.enter_context(_display(total, 0)) if shown else None

        def report(loss: float) -> None:
            nonlocal before, done, show
            done += 1
            if watched and show is None:
                now = time.monotonic()
                left = (now - before) * (total - done)
                if done > 1 and left >= WORTH_IT and now - began + left >= LONG:
                    show = stack.enter_context(_display(total, done - 1))
                before = now
            if show is not None:
                show(loss)

        yield report


@contextlib.contextmanager
def _display(total: int, done: int) -> Iterator[Callable[[float], None]]:
    """A display of which some sweeps are done; the function that it yields shows one more."""
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:

        def report(loss: float) -> None:
            nonlocal done
            done += 1
            print(f"sweep {done}/{total}: loss {loss:.6g}", file=sys.stderr)

        yield report
        return
    with tqdm(total=total, initial=done, unit="sweep") as bar:

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
