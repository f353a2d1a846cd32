"""Folders that appear whole, and what killed processes leave behind."""

import os
import signal
import subprocess
import sys

import pytest

from fastals.core import atomic_folder
from fastals.core.atomic_folder import locked, publish, replace_file, temporary_folder

KILLED = """
import sys, time
from pathlib import Path
from fastals.core.atomic_folder import temporary_folder
with temporary_folder(Path(sys.argv[1]), "store") as folder:
    (folder / "half").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(600)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


@posix
def test_what_a_killed_process_leaves_is_removed_by_the_next(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert killed.stdout.readline() == b"writing\n"
    with temporary_folder(tmp_path, "store"):
        assert len(leftovers(tmp_path)) == 2, "that of a process that lives stays"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    with temporary_folder(tmp_path, "another"):
        assert len(leftovers(tmp_path)) == 2, "that of another name stays"
    with temporary_folder(tmp_path, "store"):
        assert len(leftovers(tmp_path)) == 1
    assert leftovers(tmp_path) == []


def test_a_folder_whose_lock_is_still_to_come_stays_for_a_while(tmp_path, monkeypatch):
    (tmp_path / f".store.{'0' * 32}.tmp").mkdir()
    with temporary_folder(tmp_path, "store"):
        assert len(leftovers(tmp_path)) == 2
    monkeypatch.setattr(atomic_folder, "UNLOCKED_FOR", -1.0)
    with temporary_folder(tmp_path, "store"):
        assert len(leftovers(tmp_path)) == 1


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        with temporary_folder(tmp_path, "store") as folder:
            (folder / "half").touch()
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_lock_is_held_once(tmp_path):
    with locked(tmp_path / "lock"), pytest.raises(BlockingIOError), locked(tmp_path / "lock"):
        pass
    with locked(tmp_path / "lock"):
        pass


def test_what_is_published_takes_no_other_place(tmp_path):
    (tmp_path / "new" / "inside").mkdir(parents=True)
    (tmp_path / "new" / "inside" / "file").write_bytes(b"1")
    publish(tmp_path / "new", tmp_path / "there")
    assert (tmp_path / "there" / "inside" / "file").read_bytes() == b"1"
    (tmp_path / "new").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        publish(tmp_path / "new", tmp_path / "there")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "header.json"
    replace_file(path, b"first")
    replace_file(path, b"second")
    assert path.read_bytes() == b"second"

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, b"third")
    assert path.read_bytes() == b"second"
    assert len(list(tmp_path.iterdir())) == 1
