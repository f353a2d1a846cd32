"""What the command line shows: tables on standard output, progress on standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from fastals.model import ImplicitALS
    from fastals.persistence.checkpoint import Checkpoint
    from fastals.tables.interactions import Interactions
    from fastals.tables.store import InteractionStore

__all__ = [
    *("chosen", "facts", "fitted", "line", "loss_history", "metrics", "number"),
    *("progress", "scores", "size", "summary", "train"),
]

_SAMPLE = 2**22  # values or more from which the median of many is taken
_MOST_SWEEPS = 24  # longer histories are shown at evenly spaced sweeps


def _out() -> Console:
    # Made anew, so that it writes to what is standard output now.
    return Console(soft_wrap=False, highlight=False)


def line(text: str = "") -> None:
    """One line of plain text."""
    _out().print(_text(text), soft_wrap=True)


def number(value: float, digits: int = 7) -> str:
    """A number in its significant digits with thousands separated: the one way in which all are shown."""
    if not math.isfinite(value) or value == 0 or (value == int(value) and abs(value) < 1e15):
        return f"{value:,.0f}"
    magnitude = math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, digits - 1 - magnitude)}f}" if -5 < magnitude < 15 else f"{value:.{digits - 1}e}"


def size(path: Path) -> str:
    """How long a file is, in the unit in which it has one to three digits before the point."""
    length, unit = float(path.stat().st_size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if length < 999.5:
            break
        length, unit = length / 1000, larger
    return f"{length:.3g} {unit}"


def _text(value: Any, style: str = "") -> Text:
    """Text that is not read as markup, nor by the terminal: ids come from files and may hold control sequences.

    What standard output cannot encode is escaped, too.
    """
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(value))
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return Text(shown.encode(encoding, "backslashreplace").decode(encoding), style=style)


def _table(title: str, columns: Iterable[tuple[str, str]], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table; columns are (heading, "left" or "right"); cells are never cut nor read as markup."""
    columns = list(columns)
    table = Table(header_style="bold", show_header=any(heading for heading, _ in columns))
    for heading, side in columns:
        table.add_column(heading, justify=side, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*map(_text, row))
    # The title is a line of its own: rich would fold it to the width of the table.
    _out().print(_text(title, style="bold"), soft_wrap=True)
    _out().print(table)


def progress() -> Progress:
    """A progress display on standard error, which leaves room for the ``^C`` that terminals echo.

    Where that runs over the end of the line, the last state of the display would stay on the screen twice.
    """
    console = Console(stderr=True)
    console.width = max(1, console.width - 3)
    return Progress(
        SpinnerColumn("dots" if console.encoding.startswith("utf") else "line"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
    )


def summary(interactions: Interactions | InteractionStore, title: str = "Data") -> None:
    """Size, density and values of the data."""
    import numpy as np

    from fastals.core.validation import check_rows

    matrix, _ = check_rows(interactions.user_items, "the data")
    n_users, n_items = matrix.shape
    values, stored = matrix.data, matrix.indices.size
    if not stored:
        raise ValueError("the data has no interaction that is not zero")
    per_user, per_item = matrix.counts, matrix.column_counts
    sample = values[:: 1 + values.size // _SAMPLE]
    rows = [
        ("users", f"{n_users:,}"),
        ("items", f"{n_items:,}"),
        ("interactions", f"{stored:,} ({number(100 * stored / (n_users * n_items), 3)} % of all pairs)"),
        ("items per user", f"median {number(np.median(per_user), 3)}, largest {per_user.max():,}"),
        ("users per item", f"median {number(np.median(per_item), 3)}, largest {per_item.max():,}"),
        ("values", f"{number(values.min())} to {number(values.max())}, median {number(np.median(sample))}"),
    ]
    if interactions.times is not None:
        times = interactions.times if isinstance(interactions.times, np.ndarray) else interactions.times.data
        rows.append(("times", f"{_time(times.min())} to {_time(times.max())}"))
    if (values < 0).any():
        dislikes = np.count_nonzero(values < 0) * (stored // values.size)
        rows.append(("dislikes", f"{dislikes:,} values are negative"))
    if interactions.source:
        rows.insert(0, ("source", interactions.source))
    facts(title, rows)


def facts(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """A table of names and what there is to say of them."""
    _table(title, [("", "left"), ("", "left")], rows)


def _time(value: int) -> str:
    """A time; what may be seconds since 1970 (of a date since 1973) as a date, too."""
    import numpy as np

    dated = 10**8 <= value < 10**11
    return f"{value:,} ({str(np.datetime64(int(value), 's')).replace('T', ' ')})" if dated else f"{value:,}"


def train(model: ImplicitALS, user_items: Any, checkpoint: Checkpoint | None = None, **features: Any) -> None:
    """Fit with a progress display; from and to a checkpoint, if there is one, and with features, if there are any."""
    with progress() as display:
        task = display.add_task("compiling, first sweep", total=model.iterations, note="")

        def advance(_: Any, sweep: int, loss: float) -> None:
            display.update(task, completed=sweep + 1, description="fitting", note=f"loss {number(loss)}")

        if checkpoint is None:
            model.fit(user_items, callback=advance, show_progress=False, **features)
        else:
            checkpoint.fit(model, user_items, callback=advance, show_progress=False, **features)
        display.update(task, description="fitted")


def fitted(model: ImplicitALS) -> None:
    """What a fit came to: what it chose, the loss after each sweep, and what the solver has to report."""
    chosen(model)
    loss_history(model.loss_history)
    fallback = int(model.solver_report_["fallback_rows"])
    if fallback:
        line(f"{fallback:,} row solves were finished by Cholesky in float64")


def chosen(model: ImplicitALS) -> None:
    """What "auto" chose."""
    if model.alpha == "auto":
        line(f"alpha {number(model.alpha_, 4)} (chosen from the density and the mean value of the data)")
    if model.regularization == "auto":
        users, items = (number(strength, 4) for strength in model.regularization_)
        line(f"regularization {users} of users, {items} of items (chosen from the shape and the density of the data)")
    if model.alpha == model.unobserved_exponent == "auto":
        items = f"{model.unobserved_exponent_[1]:g}"
        line(f"exponent of missing pairs {items} (chosen from how small fits rank held-out pairs; 0.5 for few users)")


def loss_history(losses: list[float]) -> None:
    """The loss after each sweep and its change."""
    shown = range(len(losses))
    if len(losses) > _MOST_SWEEPS:
        last = len(losses) - 1
        shown = sorted({round(last * step / (_MOST_SWEEPS - 1)) for step in range(_MOST_SWEEPS)})  # type: ignore[assignment]
    rows = [(at + 1, number(losses[at]), _change(losses, at)) for at in shown]
    _table("Loss history", [("sweep", "right"), ("loss", "right"), ("change", "right")], rows)


def _change(losses: list[float], at: int) -> str:
    """By how much a sweep changed the loss, in percent; what rounds to nothing is 0."""
    if at == 0 or not losses[at - 1]:
        return ""
    change = f"{100 * (losses[at] / losses[at - 1] - 1):+.3f} %"
    return "0 %" if change[1:] == "0.000 %" else change


def scores(title: str, noun: str, ids: Iterable[Any], numbers: Iterable[float], heading: str = "score") -> None:
    """A ranked list of ids with their scores."""
    rows = [(rank, one, f"{number:.4f}") for rank, (one, number) in enumerate(zip(ids, numbers, strict=True), start=1)]
    _table(title, [("rank", "right"), (noun, "left"), (heading, "right")], rows)


def metrics(title: str, columns: Mapping[str, Mapping[str, float]], names: Iterable[str] | Mapping[str, str]) -> None:
    """Metrics of one or more models side by side; `names` may map each to what it is called."""
    labels = names if isinstance(names, Mapping) else {name: name for name in names}
    rows = [(label, *(f"{result[name]:.4f}" for result in columns.values())) for name, label in labels.items()]
    _table(title, [("metric", "left"), *((name, "right") for name in columns)], rows)
