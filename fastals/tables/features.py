"""Features of users or items from a table: its columns encoded, its rows in the order of a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastals.core.features import NamedFeatures
from fastals.core.safe_open import brief
from fastals.core.validation import check_integer
from fastals.tables.columns import eager_frame
from fastals.tables.encoding import Encoding, Labels, Numbers, Words, label
from fastals.tables.feature_files import column_kinds, read_columns

__all__ = ["FeatureTable"]

SEPARATOR = "|"


class FeatureTable(NamedFeatures):
    """Features of users or items, made from the columns of a table; built by one of its ``from_`` methods.

    It serves as ``user_features`` or ``item_features`` wherever a matrix does, and a model fitted to it keeps its
    names. Columns are encoded by kind: numbers are standardised, categories become one column each, tags of lists too,
    and text is hashed. The features of one column have length 1 together, so that all columns count alike; what is
    missing is zero.

    Attributes
    ----------
    matrix : csr_array of float64 (n, d)
    names : tuple of str
        Of the d features: ``price``, ``genre=Comedy``, ``title#17``.
    encodings : tuple
        One for each column.
    ids : tuple of str, or None
        Ids of the rows, as text.
    unknown_ids : tuple of str
        Ids in the table that were not among the known ones, whose rows were left out.
    n_without : int
        Known ids that are not in the table; all their features are zero.

    Examples
    --------
    >>> from fastals.interactions import FeatureTable
    >>> films = {"film": [3, 1], "year": [1990, 2000], "genres": ["Comedy", "Comedy|Drama"]}
    >>> table = FeatureTable.from_columns(films, id="film", numbers=["year"], lists=["genres"], ids=[1, 2, 3])
    >>> table.names
    ('year', 'genres=Comedy', 'genres=Drama')
    >>> table.matrix.toarray().round(2).tolist()
    [[1.0, 0.71, 0.71], [0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]]
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]], encodings: Sequence[Encoding]) -> None:
        self.encodings = tuple(encodings)
        names = [name for encoding in self.encodings for name in encoding.names]
        super().__init__(_encoded(columns, self.encodings), names)
        self.ids: tuple[str, ...] | None = None
        self.unknown_ids: tuple[str, ...] = ()
        self.n_without = 0

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Sequence[Any]],
        *,
        id: str | None = None,
        numbers: Sequence[str] = (),
        categories: Sequence[str] = (),
        lists: Sequence[str] = (),
        text: Sequence[str] = (),
        ids: Any = None,
        separator: str = SEPARATOR,
        text_width: int = 256,
    ) -> FeatureTable:
        """Build from a mapping of column names to equally long columns.

        Parameters
        ----------
        columns : mapping of str to sequence
            Cells that are None, NaN or blank are missing.
        id : str, optional
            Name of the column of ids; wanted with `ids`.
        numbers, categories, lists, text : sequences of str
            Names of the columns to encode, by what they hold. A list is a sequence of tags, or one text with
            `separator` between them. Columns that are not named are not used.
        ids : sequence of int or str, optional
            Known ids, such as ``Interactions.item_ids``: the rows are brought into their order. By default they stay
            as they are.
        separator : str, default "|"
            Between the tags of a list that is one text.
        text_width : int, default 256
            Number of features that the words of a column of text are hashed into.

        Returns
        -------
        FeatureTable

        Raises
        ------
        TypeError, ValueError
            For columns that do not exist or are of several lengths, cells that are not what they should be, an id that
            is missing or comes twice, `ids` none of which is in the table, or nothing to encode.
        """
        wanted = [name for group in (numbers, categories, lists, text) for name in _several(group)]
        for name in [*wanted, *([] if id is None else [id])]:
            if name not in columns:
                raise ValueError(f"no column {name!r}; the table has {', '.join(map(repr, columns))}")
        if not wanted:
            raise ValueError("nothing to encode: name columns in numbers, categories, lists or text")
        if len(set(wanted)) < len(wanted):
            raise ValueError(f"a column is named more than once among {', '.join(map(repr, wanted))}")
        if not separator:
            raise ValueError("separator must not be empty")
        width = check_integer("text_width", text_width, 1)
        cells = {name: list(columns[name]) for name in wanted}
        order, unknown, found = _order(columns, id, ids)
        if order is not None:
            cells = {name: [None if row < 0 else column[row] for row in order] for name, column in cells.items()}
        learnt: list[Encoding] = [Numbers.learnt(name, cells[name]) for name in numbers]
        learnt += [Labels.learnt(name, cells[name]) for name in categories]
        learnt += [Labels.learnt(name, cells[name], separator) for name in lists]
        learnt += [Words(name, width) for name in text]
        made = cls(cells, learnt)
        made.ids, made.unknown_ids = found, unknown
        made.n_without = 0 if order is None else int(np.count_nonzero(order < 0))
        return made

    @classmethod
    def from_dataframe(
        cls,
        frame: Any,
        *,
        id: str | None = None,
        numbers: Sequence[str] = (),
        categories: Sequence[str] = (),
        lists: Sequence[str] = (),
        text: Sequence[str] = (),
        ids: Any = None,
        separator: str = SEPARATOR,
        text_width: int = 256,
    ) -> FeatureTable:
        """Build from a pandas, polars or pyarrow table (any eager table narwhals knows; extra ``tables``).

        Parameters
        ----------
        frame : dataframe
        id, numbers, categories, lists, text, ids, separator, text_width
            As in `from_columns`.

        Returns
        -------
        FeatureTable

        Raises
        ------
        ImportError
            If narwhals is not installed.
        TypeError, ValueError
            As `from_columns`, and for anything but a table in memory.
        """
        return cls.from_columns(
            _columns_of(frame), id=id, numbers=numbers, categories=categories, lists=lists, text=text, ids=ids,
            separator=separator, text_width=text_width,
        )  # fmt: skip

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        id: str | None = None,
        ids: Any = None,
        encoding: str = "utf-8",
        text_width: int = 256,
    ) -> FeatureTable:
        """Build from delimited text with a header, Parquet or JSON lines (extra ``tables``), all columns by their look.

        Parameters
        ----------
        path : path
            Plain or compressed with gzip or zstd.
        id : str, optional
            Name of the column of ids; the first column by default.
        ids, text_width
            As in `from_columns`.
        encoding : str, default "utf-8"
            Text only: any that Python knows.

        Returns
        -------
        FeatureTable
            What a column holds follows from its cells: lists or text with ``|`` are lists, cells that are all numbers
            are numbers, other text categories if each comes five times or more on average, and words else.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ImportError
            If DuckDB is not installed.
        ValueError
            If the content is not what was wanted; the message names the file.
        """
        columns = read_columns(path, encoding)
        id = next(iter(columns)) if id is None else id
        kinds = column_kinds({name: cells for name, cells in columns.items() if name != id}, SEPARATOR)
        try:
            return cls.from_columns(columns, id=id, ids=ids, separator=SEPARATOR, text_width=text_width, **kinds)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None

    def rows_of(self, frame: Any) -> sp.csr_array:
        """Features of other rows, encoded alike: for new users or items.

        Parameters
        ----------
        frame : dataframe, or mapping of str to sequence
            With the columns that the table was made from. Categories and tags that it did not have count for nothing.

        Returns
        -------
        csr_array (n, d)
            In the order of the frame.

        Raises
        ------
        ImportError
            For a dataframe, if narwhals is not installed.
        TypeError, ValueError
            For columns that are missing, or cells that are not what they should be.
        """
        return _encoded(frame if isinstance(frame, Mapping) else _columns_of(frame), self.encodings)

    def __repr__(self) -> str:
        n, d = self.matrix.shape
        return f"<FeatureTable: {n:,} rows x {d:,} features of {len(self.encodings):,} columns>"


def _several(names: Sequence[str]) -> Sequence[str]:
    if isinstance(names, str):
        raise TypeError(f"columns must be named in a list, got {names!r}")
    return names


def _columns_of(frame: Any) -> dict[str, list[Any]]:
    """Columns of a dataframe, None where a cell is missing."""
    table = eager_frame(frame)
    columns = {}
    for name in table.columns:
        cells, missing = table[name].to_list(), table[name].is_null().to_list()
        columns[name] = [None if gone else cell for cell, gone in zip(cells, missing, strict=True)]
    return columns


def _encoded(columns: Mapping[str, Sequence[Any]], encodings: Sequence[Encoding]) -> sp.csr_array:
    """Groups of features side by side."""
    missing = [encoding.column for encoding in encodings if encoding.column not in columns]
    if missing:
        raise ValueError(f"the table lacks the column {missing[0]!r}; it has {', '.join(map(repr, columns))}")
    used = {encoding.column: list(columns[encoding.column]) for encoding in encodings}
    lengths = {name: len(cells) for name, cells in used.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must be equally long, got lengths {lengths}")
    blocks = [encoding.encoded(used[encoding.column]) for encoding in encodings]
    return sp.csr_array(sp.hstack(blocks, format="csr"))


def _order(
    columns: Mapping[str, Sequence[Any]], id_column: str | None, known: Any
) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...] | None]:
    """Row of the table of each known id, -1 for none; ids of the table that are not known; ids of the rows made.

    Ids are compared as text, so that 7 in a table finds "7" in a matrix.
    """
    if id_column is None:
        if known is not None:
            raise ValueError("ids need the id column to be named: id=...")
        return None, (), None
    texts = [_id_text(cell, row) for row, cell in enumerate(columns[id_column])]
    row_of = {text: row for row, text in enumerate(texts)}
    if len(row_of) < len(texts):
        twice = next(text for row, text in enumerate(texts) if row_of[text] != row)
        raise ValueError(f"column {id_column!r} has the id {brief(repr(twice))} more than once")
    if known is None:
        return None, (), tuple(texts)
    wanted = tuple(map(label, np.asarray(known).tolist()))
    order = np.array([row_of.get(text, -1) for text in wanted], np.int64)
    if not (order >= 0).any():
        first = [brief(repr(one[0])) if one else "nothing" for one in (texts, wanted)]
        raise ValueError(
            f"no id in column {id_column!r} is known: the table begins with {first[0]}, ids with {first[1]}"
        )
    sought = set(wanted)
    return order, tuple(text for text in texts if text not in sought), wanted


def _id_text(cell: Any, row: int) -> str:
    text = "" if cell is None else label(cell)
    if not text or text == "nan":
        raise ValueError(f"the id in row {row} is missing")
    return text
