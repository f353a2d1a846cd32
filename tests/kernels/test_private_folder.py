"""Entries of the cache are read and written only where nobody but trusted users can have put them."""

import contextlib
import hashlib
import os
import pickle
import signal
import stat
from pathlib import Path

import pytest
from kernel_package import CALL, cache_folders, run, write_package

from fastals.kernels.private_folder import read_entry, read_file, remove_oldest, write_entry

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
STRANGER = 12345


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with the entry "one"."""
    write_entry(tmp_path / "folder", "one", b"content")
    return tmp_path / "folder"


def refuses_to_write(folder: Path) -> bool:
    before = sorted(os.listdir(folder))
    with pytest.raises(OSError):  # noqa: PT011 - of several kinds
        write_entry(folder, "two", b"content")
    return sorted(os.listdir(folder)) == before


def test_entries_come_back(folder):
    write_entry(folder, "two", b"")
    write_entry(folder, "one", b"anew")

    assert (read_entry(folder, "one"), read_entry(folder, "two"), read_entry(folder, "three")) == (b"anew", b"", None)
    assert read_entry(folder / "below", "one") is None
    assert sorted(os.listdir(folder)) == ["one", "two"]


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_new_files_are_private_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_entry(tmp_path / "above" / "folder", "one", b"content")
    finally:
        os.umask(before)

    modes = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("above", "above/folder", "above/folder/one")]
    assert modes == [0o755 & ~umask, 0o700, 0o600]


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_entry_that_others_may_write_is_not_read(folder, mode):
    (folder / "one").chmod(mode)

    assert read_entry(folder, "one") is None


@pytest.mark.parametrize("mode", [0o702, 0o720, 0o777, 0o1777])
def test_folder_that_others_may_write_is_neither_read_nor_written(folder, mode):
    folder.chmod(mode)

    assert read_entry(folder, "one") is None
    assert refuses_to_write(folder)


def test_what_others_may_only_read_is_trusted(folder):
    folder.chmod(0o755)
    (folder / "one").chmod(0o644)

    write_entry(folder, "two", b"more")

    assert (read_entry(folder, "one"), read_entry(folder, "two")) == (b"content", b"more")


def test_the_folders_above_may_be_anybodys(tmp_path):
    tmp_path.chmod(0o777)
    write_entry(tmp_path / "folder", "one", b"content")

    assert read_entry(tmp_path / "folder", "one") == b"content"


def test_links_are_not_followed(tmp_path, folder):
    (tmp_path / "link").symlink_to(folder)
    (folder / "elsewhere").write_bytes((folder / "one").read_bytes())
    (folder / "one").unlink()
    (folder / "one").symlink_to(folder / "elsewhere")

    assert read_entry(folder, "one") is None
    assert refuses_to_write(tmp_path / "link")
    write_entry(folder, "one", b"anew")  # takes the link's place
    assert read_entry(folder, "one") == b"anew"
    assert not (folder / "one").is_symlink()


@as_root
@pytest.mark.parametrize("of", ["entry", "folder"])
def test_what_belongs_to_a_stranger_is_refused(folder, of):
    os.chown(folder if of == "folder" else folder / "one", STRANGER, -1)

    assert read_entry(folder, "one") is None
    if of == "folder":
        assert refuses_to_write(folder)


@pytest.mark.parametrize("name", ["two", "folder"])
def test_entry_is_read_in_its_own_place_only(tmp_path, folder, name):
    (folder / "one").rename(folder / name)
    folder.rename(tmp_path / "another")

    assert read_entry(tmp_path / "another", name) is None
    assert read_entry(tmp_path / "another", "one") is None


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_read(folder, make):
    (folder / "one").unlink()
    make(folder / "one")

    assert read_entry(folder, "one") is None


def test_oldest_folders_are_removed_but_for_links_and_strangers(tmp_path):
    folders = [tmp_path / f"folder {number}" for number in range(6)]
    for number, folder in enumerate(folders):
        write_entry(folder, "one", b"content")
        os.utime(folder, (number, number))
    folders[0].rename(tmp_path / "aim")
    folders[0].symlink_to(tmp_path / "aim")
    kept = [0, 4, 5]
    if os.geteuid() == 0:
        os.chown(folders[1], STRANGER, -1)
        kept.append(1)

    remove_oldest([*folders, tmp_path / "absent"], 2)

    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "aim", *(folders[number] for number in kept)])
    assert read_entry(tmp_path / "aim", "one") is None
    assert (tmp_path / "aim" / "one").exists()


class Attack:
    """A pickle that says so when it is loaded."""

    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(("folder_mode", "entry_mode"), [(0o777, 0o666), (0o700, 0o606), (0o707, 0o600)])
@pytest.mark.slow
def test_pickle_put_where_others_may_write_is_not_executed(tmp_path, folder_mode, entry_mode):
    root = tmp_path / "shared"
    root.mkdir()
    root.chmod(0o777)
    write_package(tmp_path)
    run(tmp_path, NUMBA_CACHE_DIR=str(root))
    (folder,) = cache_folders(root)
    for path in folder.iterdir():
        payload = pickle.dumps(Attack())
        path.write_bytes(hashlib.sha256(f"{folder.name}/{path.name}\n".encode() + payload).digest() + payload)

    assert run(tmp_path, NUMBA_CACHE_DIR=str(root))[0] == "executed"  # while all is trusted
    for path in folder.iterdir():
        path.write_bytes(hashlib.sha256(f"{folder.name}/{path.name}\n".encode() + payload).digest() + payload)
        path.chmod(entry_mode)
    folder.chmod(folder_mode)

    assert run(tmp_path, NUMBA_CACHE_DIR=str(root)) == ["51.0", "0 1"]


@as_root
@pytest.mark.slow
def test_folder_of_a_stranger_is_passed_over(tmp_path):
    kernels = write_package(tmp_path)
    root, aim = tmp_path / "shared", tmp_path / "aim"
    root.mkdir()
    aim.mkdir()
    run(tmp_path, NUMBA_CACHE_DIR=str(root))
    (folder,) = cache_folders(root)
    folder.rename(tmp_path / "old")
    folder.symlink_to(aim)

    assert run(tmp_path, NUMBA_CACHE_DIR=str(root)) == ["51.0", "0 1"]
    assert list(aim.iterdir()) == []
    assert len(cache_folders(kernels / "__pycache__")) == 1
    assert run(tmp_path, NUMBA_CACHE_DIR=str(root)) == ["51.0", "1 0"]


@pytest.mark.slow
def test_folders_of_other_packages_stay(tmp_path):
    write_package(tmp_path)
    root = tmp_path / "shared"
    others = [root / f"machine-code-{number}" for number in range(20)]
    for other in others:
        other.mkdir(parents=True)

    run(tmp_path, CALL, NUMBA_CACHE_DIR=str(root))

    assert all(other.is_dir() for other in others)
    assert len(cache_folders(root)) == 1


@pytest.mark.filterwarnings("always::ResourceWarning")
def test_interrupts_of_a_reader_leave_nothing_that_warns(recwarn):
    class InterruptError(Exception):
        pass

    def interrupt(*_):
        raise InterruptError

    expected, before = Path(__file__).read_bytes(), signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(300):
            with contextlib.suppress(InterruptError):
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + 1e-6 * number)  # once: the next is not heard too early
                while True:
                    assert read_file(Path(__file__)) == expected
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert [str(warning.message) for warning in recwarn] == []
