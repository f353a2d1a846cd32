"""``fastals store``: build, show and append to stores, for data larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastals.cli.options import FileOptions, grouped

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Data larger than memory: a folder that fit, evaluate and recommend take like a file."
)

_Store = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a store.")]
_Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE...", help="Files, or patterns such as 'days/*.csv.gz' in quotes.")
]
_Time = Annotated[str | None, typer.Option("--time-column", help="Name of the column of times, which are kept then.")]
_Limit = Annotated[str, typer.Option("--memory-limit", help="Memory that the work may take.")]
_Temporary = Annotated[
    Path | None, typer.Option("--temporary-folder", help="For what does not fit; beside the store by default.")
]


@app.command()
@grouped
def build(
    store: _Store,
    sources: _Sources,
    columns: FileOptions,
    time_column: _Time = None,
    memory_limit: _Limit = "2GB",
    temporary_folder: _Temporary = None,
) -> None:
    """Build a store from user, item[, value][, time] data in delimited text, JSON lines or Parquet."""
    from fastals.tables.store import InteractionStore

    work: dict[str, Any] = {"memory_limit": memory_limit, "temporary_folder": temporary_folder, "show_progress": True}
    work |= {"duplicates": columns.duplicates, **columns.of_store(time_column)}
    _show(InteractionStore.build(_one_or_all(sources), store, **work))


@app.command()
@grouped
def append(
    store: _Store,
    sources: _Sources,
    columns: FileOptions,
    time_column: _Time = None,
    compact: Annotated[
        bool, typer.Option("--compact/--beside", help="Whether to merge it into the rest at once, or later.")
    ] = True,
    memory_limit: _Limit = "2GB",
    temporary_folder: _Temporary = None,
) -> None:
    """Add more data, such as those of another day; repeated pairs are merged as the store was built to do."""
    from fastals.tables.store import InteractionStore

    work: dict[str, Any] = {"memory_limit": memory_limit, "temporary_folder": temporary_folder, "show_progress": True}
    work |= {"compact": compact, **columns.of_store(time_column)}
    _show(InteractionStore.open(store).append(_one_or_all(sources), **work))


@app.command()
def compact(store: _Store, temporary_folder: _Temporary = None) -> None:
    """Merge what was appended beside into the rest."""
    from fastals.tables.store import InteractionStore

    _show(InteractionStore.open(store).compact(temporary_folder=temporary_folder, show_progress=True))


@app.command()
def info(
    store: _Store,
    verify: Annotated[bool, typer.Option("--verify", help="Read all of it and verify the checksums.")] = False,
) -> None:
    """Show what a store holds."""
    from fastals.tables.store import InteractionStore

    _show(InteractionStore.open(store, verify=verify))


def _one_or_all(sources: list[str]) -> Any:
    """A single source may be a file of a matrix, which is none of several."""
    return sources[0] if len(sources) == 1 else sources


def _show(store: Any) -> None:
    from fastals.cli import show

    if store.n_parts == 1:
        show.summary(store, f"Store {store.path}")
        return
    show.line(f"{store.path}: {store!r}; {store.n_parts - 1} to be merged by 'fastals store compact'")
