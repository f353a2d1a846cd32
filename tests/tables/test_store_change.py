"""Stores that grow, and processes that are killed while they build, append or compact."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("duckdb")

from numpy.testing import assert_array_equal

from fastals import InteractionStore
from fastals.core.atomic_folder import locked
from fastals.core.rows import transposed
from fastals.tables.database import connection
from fastals.tables.interactions import Interactions


def days(seed=0, rows=400):
    """Two days of pairs: some again, some of new users and items, whose ids lie between the old ones."""
    random = np.random.default_rng(seed)
    first = 2 * random.integers(0, 30, rows), 2 * random.integers(0, 20, rows), random.integers(-2, 5, rows) * 1.0
    second = random.integers(0, 60, rows), random.integers(0, 40, rows), random.integers(-2, 5, rows) * 1.0
    return [(*day, random.integers(0, 99, rows)) for day in (first, second)]


def contents(interactions):
    """{(user id, item id): value} of a store or of `Interactions`, from both orders of a store."""
    if isinstance(interactions, Interactions):
        coo = interactions.user_items.tocoo()
        ids = interactions.user_ids[coo.row].tolist(), interactions.item_ids[coo.col].tolist()
        return dict(zip(zip(*ids, strict=True), coo.data.tolist(), strict=True))
    interactions.verify()
    found = []
    for rows in (interactions.rows, transposed(interactions.rows)):
        coo = rows.as_csr(rows.data.dtype).tocoo()
        row, column = (coo.row, coo.col) if rows is interactions.rows else (coo.col, coo.row)
        ids = interactions.user_ids[row].tolist(), interactions.item_ids[column].tolist()
        found.append(dict(zip(zip(*ids, strict=True), coo.data.tolist(), strict=True)))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("duplicates", ["sum", "count"])
def test_what_is_appended_is_as_if_it_had_been_there_from_the_first(tmp_path, duplicates, beside):
    first, second = days()
    store = InteractionStore.build([first], tmp_path / "store", duplicates=duplicates)
    before = store.user_ids.copy(), store.item_ids.copy()
    store.append([second], compact=not beside)
    if beside:
        assert store.n_parts == 2
        with pytest.raises(ValueError, match="1 appended parts are not merged yet: call compact"):
            store.rows  # noqa: B018 - is what fails
        store.compact()
    assert store.n_parts == 1
    whole = [np.concatenate(columns) for columns in zip(first, second, strict=True)]
    assert contents(store) == contents(Interactions.from_arrays(*whole[:3], duplicates=duplicates))
    for ids, old in zip((store.user_ids, store.item_ids), before, strict=True):
        assert_array_equal(ids[: len(old)], old)
        assert_array_equal(ids[len(old) :], np.sort(ids[len(old) :]))


@pytest.mark.parametrize("duplicates", ["max", "last"])
def test_rules_that_a_dropped_pair_does_not_matter_to(tmp_path, duplicates):
    first, second = days()
    kept = [(user, item, np.abs(value) + 1, time) for user, item, value, time in (first, second)]
    store = InteractionStore.build([kept[0]], tmp_path / "store", duplicates=duplicates).append([kept[1]])
    whole = [np.concatenate(columns) for columns in zip(*kept, strict=True)]
    expected = Interactions.from_arrays(*whole[:3], times=whole[3], duplicates=duplicates)
    assert contents(store) == contents(expected)
    assert np.sort(store.times).tolist() == np.sort(expected.times.data).tolist()


def test_three_days_beside_each_other(tmp_path):
    first, second = days()
    third = days(seed=1)[1]
    store = InteractionStore.build([first], tmp_path / "store")
    store.append([second], compact=False).append([third], compact=False)
    assert store.n_parts == 3
    assert store.nnz > 400
    store.compact()
    whole = [np.concatenate(columns) for columns in zip(first, second, third, strict=True)]
    assert contents(store) == contents(Interactions.from_arrays(*whole[:3]))
    assert sorted(path.name for path in store.path.iterdir()) == sorted(
        ["header.json", "lock", store._header.parts[0].folder]
    )


def test_text_ids_grow_wider(tmp_path):
    store = InteractionStore.build([(["a", "b"], ["x", "x"])], tmp_path / "store")
    store.append([(["a longer one", "b"], ["x", "y"])])
    assert store.user_ids.tolist() == ["a", "b", "a longer one"]
    assert store.item_ids.tolist() == ["x", "y"]
    store.append([(["b"], ["y"])], compact=False)  # nobody new
    assert store.compact().user_ids.tolist() == ["a", "b", "a longer one"]


def test_a_matrix_is_appended_by_its_positions(ratings, tmp_path):
    store = InteractionStore.build(ratings, tmp_path / "store").append(ratings)
    assert_array_equal(store.to_matrix().toarray(), 2 * ratings.toarray())


def test_whoever_holds_the_old_rows_keeps_them(tmp_path):
    first, second = days()
    store = InteractionStore.build([first], tmp_path / "store")
    old = store.rows
    expected = old.as_csr(old.data.dtype).toarray()
    store.append([second])
    assert_array_equal(old.as_csr(old.data.dtype).toarray(), expected)
    assert store.nnz > old.indices.size


WRONG = [
    ("mean", {}, ValueError, "cannot grow: it does not hold how many rows a pair came from"),
    ("error", {}, ValueError, "user 0 and item 0 meet more than once"),
    ("sum", {"timed": True}, ValueError, "the store has times"),
    ("sum", {"text": True}, ValueError, "the store's user ids are integers; got text"),
]


@pytest.mark.parametrize(("duplicates", "how", "error", "message"), WRONG)
def test_a_store_that_cannot_grow_stays_as_it_was(tmp_path, duplicates, how, error, message):
    times = ([7],) if how.get("timed") else ()
    store = InteractionStore.build([([0], [0], [1.0], *times)], tmp_path / "store", duplicates=duplicates)
    before = (store.path / "header.json").read_bytes()
    with pytest.raises(error, match=message):
        store.append([(["text"] if how.get("text") else [0], [0])])
    assert (store.path / "header.json").read_bytes() == before
    assert contents(InteractionStore.open(store.path, verify=True)) == {(0, 0): 1.0}
    assert sorted(path.name for path in store.path.iterdir()) == ["000001", "header.json", "lock"]


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_two_do_not_change_a_store_at_once(tmp_path):
    store = InteractionStore.build([([0], [0])], tmp_path / "store")
    with locked(store.path / "lock"), pytest.raises(BlockingIOError, match="another process is changing this store"):
        store.append([([1], [1])])


# Stops where it is told to: at the first call of a function, before it or after it.
KILLED = """
import sys, time
import numpy as np
from fastals import InteractionStore
from fastals.tables import staging, store_build, store_change

path, action, place, when = sys.argv[1:]
owner, name = {
    "staging": (staging.Staging, "number"),
    "side": (store_build.SideWriter, "finish"),
    "publish": (store_change, "publish"),
    "header": (store_change, "write_header"),
    "removal": (store_change, "_remove_outdated"),
}[place]
usual, calls = getattr(owner, name), []


def stopping(*arguments):
    calls.append(name)
    # Appending removes what is outdated first, too.
    stops = len(calls) == (2 if place == "removal" else 1)
    result = None if stops and when == "before" else usual(*arguments)
    if stops:
        print("stopped", flush=True)
        time.sleep(600)
    return result


setattr(owner, name, stopping)
second = [(np.arange(50), np.arange(50) % 7, np.full(50, 2.0))]
if action == "build":
    InteractionStore.build(second, path)
elif action == "append":
    InteractionStore.open(path).append(second)
else:
    InteractionStore.open(path).compact()
"""
FIRST = (np.arange(30), np.arange(30) % 7, np.full(30, 1.0))
SECOND = (np.arange(50), np.arange(50) % 7, np.full(50, 2.0))
BOTH = tuple(np.concatenate(pair) for pair in zip(FIRST, SECOND, strict=True))


def kill_in_the_middle(*arguments):
    process = subprocess.Popen([sys.executable, "-c", KILLED, *map(str, arguments)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"stopped\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()


posix = pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")


@posix
@pytest.mark.parametrize(("place", "when"), [("staging", "after"), ("side", "after"), ("header", "after")])
@pytest.mark.slow
def test_a_build_that_is_killed_leaves_nothing_half(tmp_path, place, when):
    kill_in_the_middle(tmp_path / "store", "build", place, when)
    assert not (tmp_path / "store").exists()
    assert len(list(tmp_path.iterdir())) == 1
    store = InteractionStore.build([SECOND], tmp_path / "store")
    assert contents(store) == contents(Interactions.from_arrays(*SECOND))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@posix
@pytest.mark.parametrize("action", ["append", "compact"])
@pytest.mark.parametrize(
    ("place", "when", "done"),
    [
        ("side", "after", False),
        ("publish", "before", False),
        ("publish", "after", False),
        ("header", "after", True),
        ("removal", "before", True),
    ],
)
@pytest.mark.slow
def test_a_change_that_is_killed_has_happened_or_not(tmp_path, action, place, when, done):
    path = tmp_path / "store"
    store = InteractionStore.build([FIRST], path)
    if action == "compact":
        store.append([SECOND], compact=False)
    kill_in_the_middle(path, action, place, when)
    store = InteractionStore.open(path, verify=True)
    if action == "append":
        assert contents(store) == contents(Interactions.from_arrays(*(BOTH if done else FIRST)))
        if not done:
            store.append([SECOND])
    else:
        assert store.n_parts == (1 if done else 2)
    store.compact()
    assert contents(store) == contents(Interactions.from_arrays(*BOTH))
    store.append([([0], [0])])  # removes what the killed process has left
    assert sorted(entry.name for entry in path.iterdir()) == sorted(
        [store._header.parts[0].folder, "header.json", "lock"]
    )


def test_the_database_shows_no_progress_of_its_own():
    with connection() as con:
        assert not con.execute("select current_setting('enable_progress_bar')").fetchone()[0]


def test_a_database_that_refuses_to_hide_its_progress_serves_all_the_same(monkeypatch):
    """In Jupyter without ipywidgets it has none to show, and the setting is an error."""
    import duckdb

    connect = duckdb.connect

    class Refusing:
        def __init__(self, *arguments, **options):
            self._connection = connect(*arguments, **options)

        def execute(self, text):
            if "progress_bar" in text:
                raise duckdb.InvalidInputException("Could not change the progress bar setting")
            return self._connection.execute(text)

        def close(self):
            self._connection.close()

    monkeypatch.setattr(duckdb, "connect", Refusing)
    with connection() as con:
        assert con.execute("select 1").fetchone() == (1,)


@pytest.fixture
def interruptible():
    """Ctrl-C raises, also where the tests run in the background of a shell that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@posix
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_is_heard_in_the_database():
    heard = threading.Event()

    def press() -> None:
        while not heard.wait(0.5):  # as somebody at a keyboard would
            os.kill(os.getpid(), signal.SIGINT)

    def query() -> None:
        with connection() as con:
            fingers.start()
            # Minutes in few long tasks, which need not be this thread's.
            con.execute("select sum(hash(a.range * b.range)) from range(1000000) a, range(100000) b").fetchall()

    fingers = threading.Thread(target=press)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            query()
    finally:
        heard.set()
        fingers.join()
    assert time.monotonic() - started < 60  # of some minutes


@pytest.mark.usefixtures("interruptible")
def test_who_had_the_wakeup_descriptor_has_it_again():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno())
        try:
            with connection():
                pass
            assert signal.set_wakeup_fd(before) == theirs.fileno()
        finally:
            signal.set_wakeup_fd(before)


@posix
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_leaves_nothing(tmp_path):
    def batches():
        yield FIRST
        os.kill(os.getpid(), signal.SIGINT)
        yield SECOND

    with pytest.raises(KeyboardInterrupt):
        InteractionStore.build(batches(), tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
