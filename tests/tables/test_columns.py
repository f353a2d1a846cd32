"""Times of dataframes and arrays, by their exact seconds, and what is no time."""

import datetime

import numpy as np
import pytest

from fastals.evaluation import temporal_split
from fastals.interactions import Interactions
from fastals.tables.columns import check_times, check_values

# 2024-03-31 is the day on which clocks change in Berlin.
DAYS = [datetime.datetime(2024, 3, 31, 1, 30), datetime.datetime(2023, 1, 1), datetime.datetime(2024, 3, 31, 12)]
SECONDS = [1711848600, 1672531200, 1711886400]  # date -u -d "2024-03-31 01:30" +%s


def frames():
    """A table of three rows by each library, with the same moments in each form they have."""

    def pandas(zone):
        import pandas as pd

        when = pd.Series(pd.to_datetime(DAYS).tz_localize("UTC"))
        when = when.dt.tz_convert(zone) if zone else when.dt.tz_localize(None)
        return pd.DataFrame({"user": [1, 1, 2], "item": [7, 8, 7], "when": when})

    def polars(zone):
        import polars as pl

        when = pl.Series(DAYS, dtype=pl.Datetime("ms", "UTC"))
        return pl.DataFrame({"user": [1, 1, 2], "item": [7, 8, 7], "when": when.dt.convert_time_zone(zone or "UTC")})

    def pyarrow(zone):
        import pyarrow as pa

        when = pa.array(DAYS, pa.timestamp("us", zone))
        return pa.table({"user": [1, 1, 2], "item": [7, 8, 7], "when": when})

    return {"pandas": pandas, "polars": polars, "pyarrow": pyarrow}


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_datetimes_of_dataframes_are_seconds_since_1970(library, zone):
    pytest.importorskip("narwhals")
    pytest.importorskip(library)
    table = Interactions.from_dataframe(frames()[library](zone), user="user", item="item", time="when")

    expected = np.zeros((2, 2), np.int64)
    expected[[0, 0, 1], [0, 1, 0]] = SECONDS
    np.testing.assert_array_equal(table.times.toarray(), expected)
    past, future = temporal_split(table.user_items, table.times, cutoff=datetime.datetime(2024, 3, 31, 6))
    assert (past.nnz, future.nnz) == (2, 1)
    assert future.toarray()[1, 0] == 1


def test_dates_are_midnights():
    pl = pytest.importorskip("polars")
    pytest.importorskip("narwhals")
    frame = pl.DataFrame({"user": [1], "item": [2], "when": [datetime.date(2023, 1, 1)]})
    assert Interactions.from_dataframe(frame, user="user", item="item", time="when").times.data == SECONDS[1]


def test_whole_floats_and_integers_stay():
    np.testing.assert_array_equal(check_times([3.0, 2.0**52], 2), [3, 2**52])
    np.testing.assert_array_equal(check_times(np.array([7], np.uint8), 1), [7])
    np.testing.assert_array_equal(check_times(np.array(DAYS, "M8[us]"), 3), SECONDS)


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        ([1.5, 2], TypeError, "times must be integers or datetimes, got dtype float64"),
        ([np.nan, 2], TypeError, "times must be integers or datetimes, got dtype float64"),
        (["2024-01-01", "2024-01-02"], TypeError, "text becomes datetimes by pandas.to_datetime"),
        (np.array(["2024-01-01", "NaT"], "M8[s]"), ValueError, "times must not be missing, got NaT at position 1"),
        ([1, 2, 3], ValueError, r"times must have one entry for each of the 2 rows, got shape \(3,\)"),
    ],
)
def test_what_is_no_time_is_refused(times, error, message):
    with pytest.raises(error, match=message):
        check_times(times, 2)


def test_times_as_values_name_the_argument_for_times():
    with pytest.raises(TypeError, match=r"values must be numbers, got dtype datetime64.*times are given by time="):
        check_values(np.array(DAYS, "M8[s]"), 3)
