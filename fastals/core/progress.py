"""Progress display of ``fit``: tqdm where it is installed, a line a sweep where it is not."""

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
