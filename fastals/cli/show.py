"""What the command line shows: tables on standard output, progress on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from fastals.model import ImplicitALS
    from fastals.tables.interactions import Interactions

__all__ = ["line", "loss_history", "metrics", "progress", "scores", "summary", "train"]

_MOST_SWEEPS = 24  # longer histories are shown at evenly spaced sweeps


def _out() -> Console:
    # Made anew, so that it writes to what is standard output now.
    return Console(soft_wrap=False, highlight=False)


def line(text: str = "") -> None:
    """One line of plain text."""
    _out().print(_text(text), soft_wrap=True)


def _text(value: Any, style: str = "") -> Text:
    """Text that is not read as markup, nor by the terminal: ids come from files and may hold control sequences."""
    shown = (one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(value))
    return Text("".join(shown), style=style)


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
    """A progress display on standard error."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def summary(interactions: Interactions, title: str = "Data") -> None:
    """Size, density and values of the data."""
    import numpy as np

    matrix = interactions.user_items
    n_users, n_items = matrix.shape
    values = matrix.data
    if not values.size:
        raise ValueError("the data has no interaction that is not zero")
    per_user, per_item = np.diff(matrix.indptr), np.bincount(matrix.indices, minlength=n_items)
    rows = [
        ("users", f"{n_users:,}"),
        ("items", f"{n_items:,}"),
        ("interactions", f"{values.size:,} ({100 * values.size / (n_users * n_items):.3g} % of all pairs)"),
        ("items per user", f"median {np.median(per_user):g}, largest {per_user.max():,}"),
        ("users per item", f"median {np.median(per_item):g}, largest {per_item.max():,}"),
        ("values", f"{values.min():g} to {values.max():g}, median {np.median(values):g}"),
    ]
    if (values < 0).any():
        rows.append(("dislikes", f"{np.count_nonzero(values < 0):,} values are negative"))
    if interactions.source:
        rows.insert(0, ("source", interactions.source))
    _table(title, [("", "left"), ("", "left")], rows)


def train(model: ImplicitALS, user_items: Any) -> None:
    """Fit with a progress display."""
    with progress() as display:
        task = display.add_task("compiling, first sweep", total=model.iterations, note="")

        def advance(_: Any, sweep: int, loss: float) -> None:
            display.update(task, advance=1, description="fitting", note=f"loss {loss:,.6g}")

        model.fit(user_items, callback=advance, show_progress=False)
        display.update(task, description="fitted")


def loss_history(losses: list[float]) -> None:
    """The loss after each sweep and its change."""
    chosen = range(len(losses))
    if len(losses) > _MOST_SWEEPS:
        last = len(losses) - 1
        chosen = sorted({round(last * step / (_MOST_SWEEPS - 1)) for step in range(_MOST_SWEEPS)})  # type: ignore[assignment]
    rows = []
    for at in chosen:
        change = "" if at == 0 else f"{100 * (losses[at] / losses[at - 1] - 1):+.3f} %" if losses[at - 1] else ""
        rows.append((at + 1, f"{losses[at]:,.8g}", change))
    _table("Loss history", [("sweep", "right"), ("loss", "right"), ("change", "right")], rows)


def scores(title: str, noun: str, ids: Iterable[Any], numbers: Iterable[float], heading: str = "score") -> None:
    """A ranked list of ids with their scores."""
    rows = [(rank, one, f"{number:.4f}") for rank, (one, number) in enumerate(zip(ids, numbers, strict=True), start=1)]
    _table(title, [("rank", "right"), (noun, "left"), (heading, "right")], rows)


def metrics(title: str, columns: Mapping[str, Mapping[str, float]], names: Iterable[str] | Mapping[str, str]) -> None:
    """Metrics of one or more models side by side; `names` may map each to what it is called."""
    labels = names if isinstance(names, Mapping) else {name: name for name in names}
    rows = [(label, *(f"{result[name]:.4f}" for result in columns.values())) for name, label in labels.items()]
    _table(title, [("metric", "left"), *((name, "right") for name in columns)], rows)
