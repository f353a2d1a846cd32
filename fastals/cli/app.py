"""The commands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from fastals.cli.options import FileOptions, ModelOptions, grouped

__all__ = ["app"]

# What bad input raises; anything else is a defect of fastals and keeps its traceback.
_BAD_INPUT = (ValueError, TypeError, OSError, ImportError, MemoryError, FloatingPointError)


class _OneLineErrors(typer.core.TyperGroup):
    """Tells of bad input and bad usage in one line on standard error, with exit code 1 or 2."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
            if code == 130:  # what typer makes of Ctrl-C
                raise KeyboardInterrupt
        except (KeyboardInterrupt, typer.Abort):
            code = _fail("interrupted", 130)
        except Exception as error:
            if hasattr(error, "format_message"):  # a usage error, whichever click typer brings
                code = _fail(error.format_message(), 2)
            elif isinstance(error, _BAD_INPUT):
                code = _fail(_describe(error), 1)
            else:
                raise
        sys.exit(code if isinstance(code, int) else 0)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _fail(message: str, code: int) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return code


app = typer.Typer(
    cls=_OneLineErrors,
    pretty_exceptions_enable=False,
    help="Recommendations from implicit feedback, by exact alternating least squares.",
)

_Data = Annotated[Path, typer.Argument(metavar="FILE", help="Delimited text (also .gz), .npz or MatrixMarket.")]
_Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file that 'fastals fit' wrote.")]
_Number = Annotated[int, typer.Option("--number", "-n", min=1, help="How many to show.")]


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from fastals import __version__

        typer.echo(f"fastals {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
@grouped
def fit(
    file: _Data,
    columns: FileOptions,
    settings: ModelOptions,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to save the model.")] = Path("model.fastals"),
) -> None:
    """Fit a model to user, item[, value] data and save it with the ids."""
    from fastals.cli import show

    _check_writable(output, file)
    interactions = columns.read(file)
    show.summary(interactions)
    model = settings.model()
    show.train(model, interactions.user_items)
    show.loss_history(model.loss_history)
    fallback = model.solver_report_["fallback_rows"]
    if fallback:
        show.line(f"{fallback:,} row solves were finished by Cholesky in float64")
    model.save(output, interactions=interactions)
    show.line(f"Saved {model!r} to {output} ({output.stat().st_size / 1e6:.1f} MB)")


@app.command()
def recommend(
    model: _Model,
    user: Annotated[list[str] | None, typer.Option(help="User id; may be given several times.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="For all users; needs --output.")] = False,
    number: _Number = 10,
    seen: Annotated[bool, typer.Option("--seen/--unseen", help="Whether to recommend what the user has.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a .csv or .parquet file.")] = None,
) -> None:
    """Recommend items to one user, to several, or to all of them into a file."""
    import numpy as np

    from fastals.cli import batch, show

    if everyone == bool(user):
        raise typer.BadParameter("give either --user ID or --all")
    if everyone and output is None:
        raise typer.BadParameter("--all needs --output FILE.csv or FILE.parquet")
    if output is not None:
        batch.check_format(output)
        _check_writable(output, model)
    fitted, interactions = _load(model)
    number = min(number, interactions.n_items)
    if everyone:
        rows = np.arange(interactions.n_users)
    else:
        rows = interactions.user_index([_id(one, interactions.user_ids) for one in user or []])
    if output is not None:
        written = batch.write_recommendations(fitted, interactions, rows, number, seen, output)
        show.line(f"Wrote {written:,} recommendations to {output}")
        return
    for row in rows:
        ids, numbers = fitted.recommend(int(row), N=number, filter_already_liked_items=not seen)
        title = f"For user {interactions.user_ids[row]} ({interactions.user_items[[row]].nnz} items known)"
        if not ids.size:
            show.line(f"{title}: nothing is left to recommend; --seen includes what is known")
            continue
        show.scores(title, "item", interactions.item_ids[ids], numbers)


@app.command()
def similar(
    model: _Model,
    item: Annotated[str | None, typer.Option(help="Item id.")] = None,
    user: Annotated[str | None, typer.Option(help="User id, for similar users instead.")] = None,
    number: _Number = 10,
) -> None:
    """Show the items (or users) whose factors point the same way, by cosine."""
    from fastals.cli import show

    if (item is None) == (user is None):
        raise typer.BadParameter("give either --item ID or --user ID")
    fitted, interactions = _load(model)
    if item is not None:
        noun, text, known = "item", item, interactions.item_ids
        column = interactions.item_index(_id(item, known))
        ids, numbers = fitted.similar_items(column, N=number + 1)
    else:
        noun, text, known = "user", str(user), interactions.user_ids
        column = interactions.user_index(_id(text, known))
        ids, numbers = fitted.similar_users(column, N=number + 1)
    others = ids != column
    show.scores(f"Similar to {noun} {text}", noun, known[ids[others][:number]], numbers[others][:number], "cosine")


@app.command()
def explain(
    model: _Model,
    user: Annotated[str, typer.Option(help="User id.")],
    item: Annotated[str, typer.Option(help="Item id.")],
    number: _Number = 10,
) -> None:
    """Show which of a user's items speak for another one, and how much."""
    from fastals.cli import show

    fitted, interactions = _load(model)
    row = interactions.user_index(_id(user, interactions.user_ids))
    column = interactions.item_index(_id(item, interactions.item_ids))
    total, contributions, _ = fitted.explain(row, interactions.user_items, column, N=number)
    ids, numbers = [one for one, _ in contributions], [score for _, score in contributions]
    title = f"Item {item} for user {user}: score {total:.4f}"
    show.scores(title, "because of item", interactions.item_ids[ids] if ids else [], numbers, "contribution")


@app.command()
@grouped
def evaluate(
    file: _Data,
    columns: FileOptions,
    settings: ModelOptions,
    k: Annotated[int, typer.Option("--at", "-n", min=1, help="Length of the judged lists.")] = 10,
    test_size: Annotated[float, typer.Option(help="Share of the pairs held out.")] = 0.2,
) -> None:
    """Hold out a part of the data, fit to the rest, and compare the ranking metrics with popularity's."""
    from fastals.cli import show
    from fastals.cli.demo import held_out_metrics
    from fastals.evaluation import train_test_split

    interactions = columns.read(file)
    show.summary(interactions)
    train, test = train_test_split(interactions.user_items, test_size=test_size, random_state=settings.random_state)
    model = settings.model()
    show.train(model, train)
    held_out_metrics(model, train, test, k)


@app.command()
@grouped
def demo(
    columns: FileOptions,
    settings: ModelOptions,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own file instead of generated data; as for 'fit'.")
    ] = None,
) -> None:
    """Do the whole job on generated data (offline, under a minute), or on your own file."""
    from fastals.cli.demo import run_demo

    run_demo(settings, None if data is None else columns.read(data))


def _check_writable(output: Path, source: Path) -> None:
    """Find out before the work that its result cannot be saved, or would take the place of what it is made from."""
    if output.is_dir():
        raise ValueError(f"--output {output}: this is a folder, wanted a file")
    if output.exists() and not output.is_file():
        raise ValueError(f"--output {output}: this exists and is not a regular file")
    if output.exists() and source.exists() and output.samefile(source):
        raise ValueError(f"--output {output}: this is the file that is read")
    if not output.resolve().parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.resolve().parent}")


def _load(path: Path) -> tuple[Any, Any]:
    """A model and its ids; without saved ids the positions serve."""
    from fastals.model import ImplicitALS
    from fastals.tables.interactions import Interactions

    model = ImplicitALS.load(path)
    interactions = getattr(model, "interactions", None)
    return model, Interactions(model.user_items_) if interactions is None else interactions


def _id(text: str, known: Any) -> Any:
    """An id from the command line in the type of the known ones."""
    return int(text) if known.dtype.kind in "iu" and re.fullmatch("[+-]?[0-9]{1,20}", text) else text
