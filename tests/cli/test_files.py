"""The command line and the file system: full disks, pipes, links, and outputs that would destroy their input."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from command_line import cells, fails, run

QUICK = ["--factors", "8", "--iterations", "2", "--seed", "1"]


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("plays") / "plays.csv"
    pairs = [(user, item) for user in range(60) for item in range(40) if (3 * user + item) % 7 == 0]
    path.write_text("user,item\n" + "".join(f"u{user},i{item}\n" for user, item in pairs))
    return path


@pytest.fixture(scope="module")
def fitted(file) -> Path:
    run("fit", file, "-o", file.parent / "m.fastals", *QUICK)
    return file.parent / "m.fastals"


FULL = """
import os, resource, sys
from fastals.cli import main

def run(*arguments):
    sys.argv = ["fastals", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code

plays, model, folder = sys.argv[1:]
fit = "fit", plays, "-k", "8", "-t", "1", "-o"
lists = "recommend", model, "--all", "-n", "40", "-o"
for name in ("m.fastals", "l.csv", "l.parquet"):  # compiles what is needed, too
    assert run(*(fit if name == "m.fastals" else lists), os.path.join(folder, name)) == 0
before = {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)}
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # bytes a file: the disk is full
for name in before:
    print(name, "ends with", run(*(fit if name == "m.fastals" else lists), os.path.join(folder, name)), file=sys.stderr)
assert {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)} == before
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.slow
def test_full_disk_leaves_the_earlier_files(fitted, file, tmp_path):
    pytest.importorskip("pyarrow")
    arguments = [sys.executable, "-c", FULL, str(file), str(fitted), str(tmp_path)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    ends = [line for line in result.stderr.splitlines() if line.startswith("error: ") or " ends with " in line]
    assert sorted(ends[1::2]) == [f"{name} ends with 1" for name in ("l.csv", "l.parquet", "m.fastals")]
    assert sorted(ends[::2]) == [
        f"error: {tmp_path / name}: File too large" for name in ("l.csv", "l.parquet", "m.fastals")
    ]
    assert "Traceback" not in result.stderr


def test_output_never_takes_the_place_of_the_input(fitted, file, tmp_path):
    before = file.read_bytes()
    assert "this is the file that is read" in fails("fit", file, "-o", file)
    (tmp_path / "link").symlink_to(file)
    assert "this is the file that is read" in fails("fit", file, "-o", tmp_path / "link")
    assert file.read_bytes() == before
    model = tmp_path / "m.csv"
    model.write_bytes(fitted.read_bytes())
    assert "this is the file that is read" in fails("recommend", model, "--all", "-o", model)
    assert model.read_bytes() == fitted.read_bytes()


def test_output_follows_links(fitted, tmp_path):
    (tmp_path / "real.csv").write_text("earlier")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    run("recommend", fitted, "--user", "u3", "-o", tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("user,rank,item,score\nu3,1,")


@pytest.mark.skipif(os.name != "posix", reason="special files of POSIX")
def test_pipes_and_devices(fitted, file, tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        assert fails("fit", path) == f"error: {path}: this is a pipe or a device, wanted a regular file"
        assert "wanted a regular file" in fails("recommend", path, "--user", 1)
    assert "is not a regular file" in fails("fit", file, "-o", pipe)
    assert "is not a regular file" in fails("recommend", fitted, "--all", "-o", pipe)


def test_user_who_has_everything(tmp_path):
    (tmp_path / "p.csv").write_text("1,1\n1,2\n2,1\n")
    run("fit", tmp_path / "p.csv", "-o", tmp_path / "m", *QUICK)
    assert "nothing is left to recommend; --seen" in run("recommend", tmp_path / "m", "--user", 1).stdout
    assert len(cells(run("recommend", tmp_path / "m", "--user", 1, "--seen").stdout)) == 2
    for text in ("99999999999999999999", "1_0", " 1", "9" * 5000):
        assert len(fails("recommend", tmp_path / "m", "--user", text)) < 300


def test_ids_do_not_command_the_terminal(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('ann,\x1b]0;title\x07\nbob,"two\nlines"\nbob,\x1b]0;title\x07\nann,\u202eno\n', encoding="utf-8")
    run("fit", path, "-o", tmp_path / "m", *QUICK)
    output = run("recommend", tmp_path / "m", "--user", "ann", "--seen").stdout
    assert all(one.isprintable() for one in output.replace("\n", ""))
    assert "\\x1b]0;title\\x07" in output
    assert "two\\nlines" in output


def test_lists_are_no_longer_than_there_are_items(fitted, tmp_path):
    run("recommend", fitted, "--all", "-o", tmp_path / "all.csv", "-n", 10**18)
    with open(tmp_path / "all.csv", newline="", encoding="utf-8") as stream:
        ranks = [int(line["rank"]) for line in csv.DictReader(stream)]
    assert max(ranks) < 40
    assert len(cells(run("similar", fitted, "--item", "i5", "-n", 10**18).stdout)) == 39
