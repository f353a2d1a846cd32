"""Archives that hold a table in another way: spreadsheets, which are named, and arrays with times."""

import re
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.datasets import read_interactions

ADVICE = "save its sheet as CSV (UTF-8), or read it with pandas and call Interactions.from_dataframe"


@pytest.mark.parametrize(
    ("member", "kind"),
    [("[Content_Types].xml", "an Excel workbook"), ("content.xml", "an OpenDocument spreadsheet")],
)
def test_spreadsheets_are_named(tmp_path, member, kind):
    path = tmp_path / "plays.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "<x/>")
        archive.writestr("other/sheet1.xml", "<x/>")
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: this is {kind}; {ADVICE}')}$"):
        read_interactions(path)


def test_old_workbooks_are_named(tmp_path):
    path = tmp_path / "plays.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    with pytest.raises(ValueError, match="this is an Excel workbook of before 2007; save its sheet as CSV"):
        read_interactions(path)


def test_times_in_arrays_are_read_where_they_are_asked_for(tmp_path):
    path = tmp_path / "plays.npz"
    dates = np.array(["2023-01-01", "2023-01-02", "2023-01-03"], "M8[D]")
    np.savez(path, user=["b", "a", "b"], item=[1, 1, 1], when=dates.astype("M8[s]").astype(np.int64))
    made = read_interactions(path, time_column="when")
    got = made.times.toarray().ravel().astype("M8[s]")
    np.testing.assert_array_equal(got, dates[[1, 2]])
    assert read_interactions(path).times is None
    with pytest.raises(ValueError, match=r"no time array 'then'; the file has 'user', 'item', 'when'"):
        read_interactions(path, time_column="then")


def test_matrices_hold_no_times(tmp_path):
    path = tmp_path / "m.npz"
    sp.save_npz(path, sp.csr_array(np.eye(2)))
    with pytest.raises(ValueError, match=r"no time column 'when'; this is a sparse matrix, which holds no times"):
        read_interactions(path, time_column="when")
    path = tmp_path / "m.mtx"
    path.write_text("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1\n")
    with pytest.raises(ValueError, match="this is a sparse matrix, which holds no times"):
        read_interactions(path, time_column=0)


def test_wrong_choices_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match="duplicates must be one of"):
        read_interactions(tmp_path / "none.csv", duplicates="first")
    with pytest.raises(ValueError, match="decimal must be one of"):
        read_interactions(tmp_path / "none.csv", decimal=";")
