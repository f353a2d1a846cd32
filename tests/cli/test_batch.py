"""Lists written to files: packed, and harmless in spreadsheets."""

import csv
import gzip

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from command_line import run

from fastals import ImplicitALS
from fastals.cli.batch import defused
from fastals.interactions import Interactions

DANGEROUS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "--1"]
HARMLESS = ["-12", "+4.5", "-1,000", "ann", "a=b", "'quoted", "1-2", ""]


def test_ids_like_formulas_get_an_apostrophe_and_numbers_do_not():
    got, changed = defused(np.array(DANGEROUS + HARMLESS))
    assert got.tolist() == [f"'{one}" for one in DANGEROUS] + HARMLESS
    assert changed == len(DANGEROUS)


@pytest.mark.parametrize("ids", [np.array([-3, 4]), np.array(HARMLESS)])
def test_other_ids_stay_the_array_they_are(ids):
    got, changed = defused(ids)
    assert got is ids
    assert changed == 0


@pytest.fixture
def fitted(tmp_path, ratings):
    """A model whose items 0 and 5 have ids that spreadsheets run."""
    items = [f"item {column}" for column in range(22)]
    items[0], items[5] = "=1+1", "@SUM(A1)"
    path = tmp_path / "m.fastals"
    ImplicitALS(4, iterations=2, random_state=0).fit(ratings).save(
        path, interactions=Interactions(ratings, None, items)
    )
    return path


def rows(text):
    return list(csv.DictReader(text.splitlines()))


def test_csv_is_harmless_unless_exact_ids_are_asked_for(fitted, tmp_path):
    path = tmp_path / "lists.csv"
    told = run("recommend", fitted, "--all", "-n", 22, "-o", path).stdout
    harmless = {line["item"] for line in rows(path.read_text("utf-8"))}
    assert "2 ids begin like a formula and got an ' in front, for spreadsheets; --exact-ids leaves it out" in told
    assert {"'=1+1", "'@SUM(A1)"} <= harmless
    told = run("recommend", fitted, "--all", "-n", 22, "-o", path, "--exact-ids").stdout
    exact = {line["item"] for line in rows(path.read_text("utf-8"))}
    assert "formula" not in told
    assert {"=1+1", "@SUM(A1)"} <= exact
    assert {one.removeprefix("'") for one in harmless} == exact


def test_parquet_is_exact(fitted, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    told = run("recommend", fitted, "--all", "-n", 22, "-o", tmp_path / "lists.parquet").stdout
    assert "formula" not in told
    assert {"=1+1", "@SUM(A1)"} <= set(parquet.read_table(tmp_path / "lists.parquet")["item"].to_pylist())


def test_packed_csv_holds_the_same_table_and_equal_bytes(fitted, tmp_path):
    for name in ("a.csv", "a.csv.gz", "b.csv.gz"):
        run("recommend", fitted, "--all", "-n", 3, "-o", tmp_path / name)
    packed = (tmp_path / "a.csv.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.csv").read_bytes()
    assert packed == (tmp_path / "b.csv.gz").read_bytes()
