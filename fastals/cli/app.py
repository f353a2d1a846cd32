"""The commands. What they are given is checked before any data are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fastals.cli import store
from fastals.cli.errors import OneLineErrors
from fastals.cli.options import FeatureOptions, FileOptions, ModelOptions, WeightOptions, grouped

__all__ = ["app"]

app = typer.Typer(
    cls=OneLineErrors,
    pretty_exceptions_enable=False,
    help="Recommendations from implicit feedback, by exact alternating least squares.",
)
app.add_typer(store.app, name="store")

_Data = Annotated[Path, typer.Argument(metavar="FILE", help="Text, JSON lines, Parquet, .npz, MatrixMarket, a store.")]
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
    weights: WeightOptions,
    features: FeatureOptions,
    settings: ModelOptions,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to save the model.")] = Path("model.fastals"),
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Keep the fit in this file after each sweep; the same command goes on from it."),
    ] = None,
) -> None:
    """Fit a model to user, item[, value] data and save it with the ids. Ctrl-C saves what there is."""
    from fastals.cli import show
    from fastals.cli.features import with_features
    from fastals.cli.fitting import fit_and_save

    model = settings.model(**features.parameters())
    weights.check(columns, file)
    features.check()
    sources = [file, *(path for _, path, _ in features.given())]
    _check_writable("--output", output, *sources)
    if checkpoint is not None:
        _check_writable("--checkpoint", checkpoint, *sources, output)
    interactions = columns.open(file)
    show.summary(interactions)
    interactions, known = with_features(interactions, features, columns.encoding)
    train = weights.applied(interactions.user_items, interactions)
    fit_and_save(model, train, interactions, output, checkpoint, known)


@app.command()
def recommend(
    model: _Model,
    user: Annotated[list[str] | None, typer.Option(help="User id; may be given several times.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="For all users; needs --output.")] = False,
    number: _Number = 10,
    seen: Annotated[bool, typer.Option("--seen/--unseen", help="Whether to recommend what the user has.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a .csv, .csv.gz or .parquet file.")
    ] = None,
    exact_ids: Annotated[
        bool, typer.Option("--exact-ids", help="In csv, leave ids that spreadsheets take for formulas as they are.")
    ] = False,
) -> None:
    """Recommend items to one user, to several, or to all of them into a file."""
    import numpy as np

    from fastals.cli import batch, show

    if everyone == bool(user):
        raise typer.BadParameter("give either --user ID or --all")
    if everyone and output is None:
        raise typer.BadParameter("--all needs --output FILE.csv, FILE.csv.gz or FILE.parquet")
    if output is not None:
        batch.check_format(output)
        _check_writable("--output", output, model)
    fitted, interactions = _load(model)
    number = min(number, interactions.n_items)
    if everyone:
        rows = np.arange(interactions.n_users)
    else:
        rows = np.array([_position(interactions.user_index, one, interactions.user_ids) for one in user or []])
    if output is not None:
        written, changed = batch.write_recommendations(
            fitted, interactions, rows, output, number=number, seen=seen, exact_ids=exact_ids
        )
        show.line(f"Wrote {written:,} recommendations to {output} ({show.size(output)})")
        if changed:
            ids = "1 id begins" if changed == 1 else f"{changed:,} ids begin"
            show.line(f"{ids} like a formula and got an ' in front, for spreadsheets; --exact-ids leaves it out")
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
        column = _position(interactions.item_index, item, known)
        ids, numbers = fitted.similar_items(column, N=number + 1)
    else:
        noun, text, known = "user", str(user), interactions.user_ids
        column = _position(interactions.user_index, text, known)
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
    row = _position(interactions.user_index, user, interactions.user_ids)
    column = _position(interactions.item_index, item, interactions.item_ids)
    total, contributions, _ = fitted.explain(row, interactions.user_items, column, N=number)
    ids, numbers = [one for one, _ in contributions], [score for _, score in contributions]
    title = f"Item {item} for user {user}: score {total:.4f}"
    show.scores(title, "because of item", interactions.item_ids[ids] if ids else [], numbers, "contribution")


@app.command()
def info(model: _Model) -> None:
    """Show what a model file holds: sizes, parameters, the alpha that was used, losses, how rows were solved."""
    from fastals.cli.info import describe

    fitted, interactions = _load(model)
    describe(model, fitted, interactions)


@app.command()
@grouped
def evaluate(
    file: _Data,
    columns: FileOptions,
    weights: WeightOptions,
    settings: ModelOptions,
    k: Annotated[int, typer.Option("--at", "-n", min=1, help="Length of the judged lists.")] = 10,
    test_size: Annotated[float, typer.Option(help="Share of the pairs held out.")] = 0.2,
    as_json: Annotated[bool, typer.Option("--json", help="Print nothing but one JSON object.")] = False,
) -> None:
    """Hold out a part of the data, fit to the rest, and compare the ranking metrics with popularity's.

    With --time-column, or of a store that has times, the latest pairs are held out, else random ones.
    """
    from fastals.cli import judging, show

    model = settings.model()
    weights.check(columns, file)
    if not 0 < test_size < 1:
        raise ValueError(f"--test-size must be between 0 and 1, got {test_size:g}")
    interactions = columns.open(file)
    if not as_json:
        show.summary(interactions)
    train, test = judging.split(interactions, test_size, settings.random_state)
    show.train(model, weights.applied(train, interactions))
    if as_json:
        found = judging.measured(model, train, test, k)
        typer.echo(judging.as_json(model, interactions, train, test, found))
        return
    show.chosen(model)
    judging.held_out_metrics(model, train, test, k)


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

    model = settings.model()
    run_demo(model, settings.random_state, None if data is None else columns.read(data))


def _check_writable(option: str, output: Path, *sources: Path) -> None:
    """Find out before the work that its result cannot be saved, or would take the place of what it is made from."""
    if output.is_dir():
        raise ValueError(f"{option} {output}: this is a folder, wanted a file")
    if output.exists() and not output.is_file():
        raise ValueError(f"{option} {output}: this exists and is not a regular file")
    for source in sources:
        if output.exists() and source.exists() and output.samefile(source):
            raise ValueError(f"{option} {output}: this is the file that is read")
    if not output.resolve().parent.is_dir():
        raise ValueError(f"{option} {output}: there is no folder {output.resolve().parent}")


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


def _position(find: Callable[[Any], int], text: str, known: Any) -> int:
    """Row or column of an id from the command line; for one that is not known, the error names those that are near."""
    from fastals.cli.near import near
    from fastals.tables.ids import UnknownIdError

    try:
        return find(_id(text, known))
    except UnknownIdError as error:
        hint = ", ".join(map(repr, near(text, known)))
        raise ValueError(f"{error}; did you mean {hint}?" if hint else str(error)) from None
