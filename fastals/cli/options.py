"""Options that several commands share, as dataclasses whose fields become options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from fastals.model import ImplicitALS
    from fastals.tables.interactions import Interactions
    from fastals.tables.store import InteractionStore

__all__ = ["FeatureOptions", "FileOptions", "ModelOptions", "WeightOptions", "grouped"]

_FILE = "Input columns"
_WEIGHTS = "Weights of the pairs"
_FEATURES = "Features of users and items"
_MODEL = "Model (defaults: those of ImplicitALS)"
_NUMBERS = "<float>|users,items|auto"


def _one_of(*names: str) -> Callable[[str], list[str]]:
    """Completion of an option that takes one of some names."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


@dataclass
class FileOptions:
    """Where a file keeps its columns; None means to find out."""

    user_column: Annotated[
        str | None,
        typer.Option(help="Name of the user column, or its number counted from 1.", rich_help_panel=_FILE),
    ] = None
    item_column: Annotated[
        str | None,
        typer.Option(help="Name or number of the item column.", rich_help_panel=_FILE),
    ] = None
    value_column: Annotated[
        str | None,
        typer.Option(help="Name or number of the value column.", rich_help_panel=_FILE),
    ] = None
    time_column: Annotated[
        str | None,
        typer.Option(help="Name or number of a column of times; not read by default.", rich_help_panel=_FILE),
    ] = None
    separator: Annotated[
        str | None,
        typer.Option(help="What separates the columns: a character, '::', 'tab' or 'space'.", rich_help_panel=_FILE),
    ] = None
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether the first line names columns.", rich_help_panel=_FILE),
    ] = None
    encoding: Annotated[
        str,
        typer.Option(help="Encoding of text, such as cp1252 or utf-16.", rich_help_panel=_FILE),
    ] = "utf-8"
    decimal: Annotated[
        str,
        typer.Option(help="Decimal sign of values: '.' or ','.", rich_help_panel=_FILE),
    ] = "."
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Drop rows that cannot be read, and say how many.", rich_help_panel=_FILE),
    ] = False
    duplicates: Annotated[
        str,
        typer.Option(
            help="Repeated pairs: sum, mean, max, last, count or error.",
            autocompletion=_one_of("sum", "mean", "max", "last", "count", "error"),
            rich_help_panel=_FILE,
        ),
    ] = "sum"

    def open(self, path: Path) -> Interactions | InteractionStore:
        """Read a file, or open a store."""
        from fastals.tables.store import InteractionStore
        from fastals.tables.store_files import is_store

        return InteractionStore.open(path) if is_store(path) else self.read(path)

    def read(self, path: Path) -> Interactions:
        """Read a file of any of the formats, or a store, into memory."""
        from fastals.tables.readers import read_interactions
        from fastals.tables.store import InteractionStore
        from fastals.tables.store_files import is_store

        if is_store(path):
            return InteractionStore.open(path).to_interactions()
        return read_interactions(
            path,
            user_column=_column(self.user_column),
            item_column=_column(self.item_column),
            value_column=_column(self.value_column),
            separator=self._separator(),
            time_column=_column(self.time_column),
            header=self.header,
            encoding=self.encoding,
            decimal=self.decimal,
            skip_bad=self.skip_bad,
            duplicates=self.duplicates,  # type: ignore[arg-type]
        )

    def keeps_times(self, path: Path) -> bool:
        """Whether there will be times: of a file, if they are asked for; of a store, if it has them."""
        from fastals.tables.store import InteractionStore
        from fastals.tables.store_files import is_store

        return InteractionStore.open(path).timed if is_store(path) else self.time_column is not None

    def of_store(self) -> dict[str, Any]:
        """Arguments of ``InteractionStore.build`` and ``append``, but for the rule for duplicates."""
        names = ("user", "item", "value", "time")
        asked = (self.user_column, self.item_column, self.value_column, self.time_column)
        text = {
            "separator": self._separator(),
            "header": self.header,
            "encoding": self.encoding,
            "decimal": self.decimal,
            "skip_bad": self.skip_bad,
        }
        return {**dict(zip(names, map(_column, asked), strict=True)), **text}

    def _separator(self) -> str | None:
        named = {"tab": "\t", "space": " ", "\\t": "\t"}
        return named.get(self.separator, self.separator) if self.separator else None


@dataclass
class WeightOptions:
    """Weights of the pairs before they are fitted; None leaves them as they are."""

    weighting: Annotated[
        str | None,
        typer.Option(
            help="bm25, tfidf or popularity.",
            autocompletion=_one_of("bm25", "tfidf", "popularity"),
            rich_help_panel=_WEIGHTS,
        ),
    ] = None
    half_life: Annotated[
        str | None,
        typer.Option(
            help="Time in which a pair's weight halves, such as 90d or 2y; needs --time-column.",
            rich_help_panel=_WEIGHTS,
        ),
    ] = None

    def check(self, columns: FileOptions, path: Path) -> None:
        """ValueError for what makes no sense."""
        from fastals.cli.weights import check_weights

        check_weights(self.weighting, self.half_life, columns.keeps_times(path))

    def applied(self, train: Any, interactions: Interactions | InteractionStore) -> Any:
        """The pairs to train on, weighed."""
        from fastals.cli.weights import weighed

        return weighed(train, interactions, self.weighting, self.half_life)


@dataclass
class FeatureOptions:
    """Files of what is known of users and items besides their pairs."""

    item_features: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table with a header and a row for each item: its id, and columns of numbers, categories, lists "
            "(with | between) or text.",
            rich_help_panel=_FEATURES,
        ),
    ] = None
    user_features: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The same of the users.", rich_help_panel=_FEATURES),
    ] = None
    item_features_id: Annotated[
        str | None,
        typer.Option(help="Name of the column of ids; the first by default.", rich_help_panel=_FEATURES),
    ] = None
    user_features_id: Annotated[
        str | None,
        typer.Option(help="The same of the users.", rich_help_panel=_FEATURES),
    ] = None
    feature_regularization: Annotated[
        float | None,
        typer.Option(help="Strength of the penalty of what features do.", rich_help_panel=_FEATURES),
    ] = None

    def given(self) -> list[tuple[str, Path, str | None]]:
        """Noun, file, and name of the column of ids, of each file that was given."""
        both = ("user", self.user_features, self.user_features_id), ("item", self.item_features, self.item_features_id)
        return [(noun, path, column) for noun, path, column in both if path is not None]

    def check(self) -> None:
        """ValueError for files that do not exist, and for a column's name without a file."""
        given = {noun: path for noun, path, _ in self.given()}
        for noun, column in (("user", self.user_features_id), ("item", self.item_features_id)):
            if column is not None and noun not in given:
                raise ValueError(f"--{noun}-features-id needs --{noun}-features")
        for noun, path in given.items():
            if not path.is_file():
                raise ValueError(f"--{noun}-features {path}: there is no such file")

    def parameters(self) -> dict[str, float]:
        """Parameters of the model."""
        strength = self.feature_regularization
        return {} if strength is None else {"feature_regularization": strength}


def _column(text: str | None) -> str | int | None:
    """A column by name, or by number counted from 1."""
    if text is None or not text.isdecimal():
        return text
    if int(text) < 1:
        raise ValueError(f"columns are counted from 1, got {text}")
    return int(text) - 1


def _numbers(name: str, text: str) -> str | float | tuple[float, ...]:
    """Read a number, one for users and one for items (but not of alpha), or "auto"."""
    if text == "auto":
        return text
    pair = "" if name == "alpha" else ", two with a comma between,"
    try:
        numbers = tuple(map(float, text.split(",") if pair else [text]))
    except ValueError:
        option = f"--{name.replace('_', '-')}"
        raise ValueError(f"{option} must be a number{pair} or auto; got {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]


@dataclass
class ModelOptions:
    """The constructor's arguments; None leaves its default."""

    factors: Annotated[
        int | None,
        typer.Option("--factors", "-k", help="Length of the factor vectors.", rich_help_panel=_MODEL),
    ] = None
    regularization: Annotated[
        str | None,
        typer.Option(metavar=_NUMBERS, help="Weight of the squared norms.", rich_help_panel=_MODEL),
    ] = None
    alpha: Annotated[
        str | None,
        typer.Option(metavar="<float>|auto", help="Confidence per unit of value.", rich_help_panel=_MODEL),
    ] = None
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", "-t", help="Number of sweeps.", rich_help_panel=_MODEL),
    ] = None
    unobserved_weight: Annotated[
        float | None,
        typer.Option(help="Weight of pairs that are not in the data.", rich_help_panel=_MODEL),
    ] = None
    unobserved_exponent: Annotated[
        str | None,
        typer.Option(metavar=_NUMBERS, help="How these pairs' weight grows with popularity.", rich_help_panel=_MODEL),
    ] = None
    regularization_exponent: Annotated[
        float | None,
        typer.Option(help="0: the same for all rows, 1: in proportion to their weight.", rich_help_panel=_MODEL),
    ] = None
    objective: Annotated[
        str | None,
        typer.Option(help="hu or rendle.", autocompletion=_one_of("hu", "rendle"), rich_help_panel=_MODEL),
    ] = None
    confidence: Annotated[
        str | None,
        typer.Option(
            help="linear, log or raw; log unless alpha is given.",
            autocompletion=_one_of("linear", "log", "raw"),
            rich_help_panel=_MODEL,
        ),
    ] = None
    epsilon: Annotated[
        float | None,
        typer.Option(help="Scale of values in the log confidence.", rich_help_panel=_MODEL),
    ] = None
    solver: Annotated[
        str | None,
        typer.Option(help="cg or cholesky.", autocompletion=_one_of("cg", "cholesky"), rich_help_panel=_MODEL),
    ] = None
    tol: Annotated[
        float | None,
        typer.Option(help="Relative error at which a row's iteration stops.", rich_help_panel=_MODEL),
    ] = None
    acceleration: Annotated[
        bool | None,
        typer.Option(
            "--acceleration/--no-acceleration",
            help="Whether to extrapolate from sweep to sweep.",
            show_default=False,
            rich_help_panel=_MODEL,
        ),
    ] = None
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 or float64.", autocompletion=_one_of("float32", "float64"), rich_help_panel=_MODEL),
    ] = None
    num_threads: Annotated[
        int | None,
        typer.Option("--threads", help="Threads to use; all by default.", rich_help_panel=_MODEL),
    ] = None
    random_state: Annotated[
        int,
        typer.Option("--seed", help="Seed of the initial factors and of splits.", rich_help_panel=_MODEL),
    ] = 0

    def model(self, **defaults: Any) -> ImplicitALS:
        """Model with the options given, then `defaults`, then the constructor's own defaults; all of them checked."""
        from fastals.core.validation import check_integer
        from fastals.model import ImplicitALS
        from fastals.solver.checked import check_parameters

        check_integer("random_state", self.random_state, 0)
        given = {name: value for name, value in asdict(self).items() if value is not None}
        for name in {"regularization", "alpha", "unobserved_exponent"} & given.keys():
            given[name] = _numbers(name, given[name])
        model = ImplicitALS(**{**defaults, **given})
        check_parameters(model)
        return model


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of each dataclass parameter, one option for each of its fields."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name], kind=parameter.KEYWORD_ONLY))
            continue
        kinds = get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=kinds[field.name])
            for field in fields(groups[name])
        ]

    def run(**options: Any) -> None:
        built = {
            name: kind(**{field.name: options.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        command(**options, **built)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
