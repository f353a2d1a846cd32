"""Files that take another's place whole, and what writers that were killed leave behind."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastals import ImplicitALS
from fastals.persistence import atomic, model_file
from fastals.persistence.atomic import atomic_writer
from fastals.persistence.model_file import read_model_file, write_model_file

KILLED = """
import sys, time
from fastals.persistence.atomic import atomic_writer
with atomic_writer(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".tmp"))


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
def test_what_a_killed_writer_leaves_is_removed_by_the_next(tmp_path, monkeypatch):
    target = tmp_path / "model.fastals"
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"writing\n"
    monkeypatch.setattr(atomic, "ABANDONED_AFTER", -1.0)
    with atomic_writer(target) as file:
        file.write(b"whole")
    assert len(leftovers(tmp_path)) == 1, "a file whose writer lives stays"

    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    monkeypatch.setattr(atomic, "ABANDONED_AFTER", 3600.0)
    with atomic_writer(target) as file:
        file.write(b"whole")
    assert len(leftovers(tmp_path)) == 1, "a file that is young stays"
    other = tmp_path / f".other.{'0' * 32}.tmp"
    other.touch()
    os.utime(other, (time.time() - 9999,) * 2)

    monkeypatch.setattr(atomic, "ABANDONED_AFTER", -1.0)
    with atomic_writer(target) as file:
        file.write(b"the last")
    assert leftovers(tmp_path) == [other.name], "files of other targets stay"
    assert target.read_bytes() == b"the last"


def test_a_file_that_is_refused_takes_no_place(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"good")

    def refuse(file):
        assert file.read() == b"bad"
        raise OSError("refused")

    with pytest.raises(OSError, match="refused"), atomic_writer(target, verify=refuse) as file:
        file.write(b"bad")
    assert target.read_bytes() == b"good"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("damage", ["array that changes", "bit on the disk"])
def test_a_model_file_that_does_not_read_back_never_replaces_a_good_one(tmp_path, monkeypatch, damage):
    target, array = tmp_path / "model", np.arange(100_000, dtype=np.float32)
    write_model_file(target, {"turn": 1}, {"x": array})
    good = target.read_bytes()
    usual = model_file._chunks

    def chunks(array):
        for chunk in usual(array):
            yield chunk
            if damage == "array that changes":
                continue
        if damage == "bit on the disk":
            written.seek(5000)
            written.write(b"?")
            written.seek(0, os.SEEK_END)

    real, written = model_file.atomic_writer, None

    class Watched:
        def __init__(self, *arguments, **named):
            self.inner = real(*arguments, **named)

        def __enter__(self):
            nonlocal written
            written = self.inner.__enter__()
            return written

        def __exit__(self, *error):
            if damage == "array that changes" and error[0] is None:  # as if memory had been read twice
                written.seek(5000)
                written.write(b"\xff" * 8)
            return self.inner.__exit__(*error)

    monkeypatch.setattr(model_file, "_chunks", chunks)
    monkeypatch.setattr(model_file, "atomic_writer", Watched)
    with pytest.raises(OSError, match="what was written does not read back, so an earlier file stays"):
        write_model_file(target, {"turn": 2}, {"x": array})
    monkeypatch.undo()

    assert target.read_bytes() == good
    assert read_model_file(target)[0] == {"turn": 1}
    assert leftovers(tmp_path) == []


def test_models_are_verified(ratings, tmp_path, monkeypatch):
    model = ImplicitALS(4, iterations=1, random_state=0).fit(ratings)
    seen = []
    verify = model_file._verify
    monkeypatch.setattr(model_file, "_verify", lambda file: seen.append(file.name) or verify(file))
    model.save(tmp_path / "model")
    assert len(seen) == 1
