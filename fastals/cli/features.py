"""Features of users and items from files: read, held against the data's ids, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastals.cli import show
from fastals.tables.encoding import Labels, Numbers, Words
from fastals.tables.features import FeatureTable
from fastals.tables.interactions import Interactions

if TYPE_CHECKING:
    from fastals.cli.options import FeatureOptions
    from fastals.tables.store import InteractionStore

__all__ = ["with_features"]


def with_features(
    interactions: Interactions | InteractionStore, options: FeatureOptions, encoding: str
) -> tuple[Interactions | InteractionStore, dict[str, FeatureTable]]:
    """Interactions with whom the files know besides, and arguments of ``fit``.

    Users and items of whom there are features and no interactions get empty rows and columns, so that they are
    recommended (to), too. A store cannot grow: there they are left out.
    """
    found: dict[str, FeatureTable] = {}
    for noun, path, column in options.given():
        table, added = _read(path, column, encoding, _ids(interactions, noun)), 0
        if table.unknown_ids and isinstance(interactions, Interactions):
            added = len(table.unknown_ids)
            interactions = interactions.with_ids(**{f"{noun}_ids": table.unknown_ids})
            table = _read(path, column, encoding, _ids(interactions, noun))
        _show(noun, path, table, added)
        found[f"{noun}_features"] = table
    return interactions, found


def _ids(interactions: Interactions | InteractionStore, noun: str) -> Any:
    return interactions.user_ids if noun == "user" else interactions.item_ids


def _read(path: Path, column: str | None, encoding: str, ids: Any) -> FeatureTable:
    return FeatureTable.from_file(path, id=column, ids=ids, encoding=encoding)


def _show(noun: str, path: Path, table: FeatureTable, n_added: int) -> None:
    """Which columns were taken for what, and whom the file knows."""
    n_rows, n_features = table.matrix.shape
    rows = [(f"{noun}s", f"{n_rows - table.n_without:,} with features, {table.n_without:,} without")]
    if n_added:
        rows.append(("new", f"{n_added:,} without any interaction are added to the data"))
    if table.unknown_ids:
        rows.append(("left out", f"{len(table.unknown_ids):,} that are not in the store"))
    kinds: dict[str, list[str]] = {"numbers": [], "categories": [], "lists": [], "text": []}
    for one in table.encodings:
        if isinstance(one, Numbers):
            kinds["numbers"].append(one.column)
        elif isinstance(one, Labels):
            kinds["categories" if one.separator is None else "lists"].append(f"{one.column} ({len(one.labels):,})")
        elif isinstance(one, Words):
            kinds["text"].append(f"{one.column} ({one.width:,} for its words)")
    rows += [(kind, ", ".join(names)) for kind, names in kinds.items() if names]
    show.facts(f"{noun.capitalize()} features ({path.name})", [*rows, ("features", f"{n_features:,}")])
