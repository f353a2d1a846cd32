"""Files that would fill the memory, or block for ever, are refused by a process that may take little."""

import os
import subprocess
import sys

import pytest

BOMBS = r"""
import gzip, io, os, resource, struct, sys, warnings, zipfile
from pathlib import Path
import numpy as np
import fastals.core.safe_open
from fastals import ImplicitALS
from fastals.persistence.checkpoint import read_state
from fastals.datasets import load_movielens, read_adjacency_list
from fastals.tables.readers import read_interactions

folder, mega = Path(sys.argv[1]), 2**20
# So that the bombs are quickly made and refused.
fastals.core.safe_open._UNPACKED, fastals.core.safe_open._RATIO = 4 * mega, 5

def put(name, *content):
    (folder / name).write_bytes(b"".join(content))
    return folder / name

def archive(name, **members):
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for member, content in members.items():
            made.writestr(member.replace("__", "."), content)
    return folder / name

def npy(shape, data=b"", descr="<i8"):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data

def matrix(form, shape, **arrays):
    np.savez(folder / f"{form}.npz", format=np.array(form.encode()), shape=np.array(shape), _is_array=True, **arrays)
    return folder / f"{form}.npz"

def market(name, kind, sizes):
    return put(name, f"%%MatrixMarket matrix {kind} real general\n{sizes}\n1 1 5\n".encode())

one, ids = npy("(1,)", bytes(8)), b"".join(b"a%d,1\n" % number for number in range(100_000))
letters, zeros = gzip.compress(b"x" * mega), gzip.compress(bytes(mega))  # gzip files may be joined
rows = gzip.compress(b"1 2\n" * (mega // 4))
texts = {
    "line": put("line.csv", b"1,2\n", b"x" * (100 * mega)),
    "line, gzip": put("line.gz", gzip.compress(b"1,2\n"), *[letters] * 100),
    "zeros, gzip": put("zeros.gz", *[zeros] * 100),
    "quote": put("quote.csv", b'1,2\n3,"', b"x\n" * (10 * mega)),
    "one long id": put("ids.csv", ids, b"y" * 50_000 + b",1\n"),
    "entries": market("n.mtx", "coordinate", "9 9 1000000000000"),
    "rows": market("r.mtx", "coordinate", "2000000000 9 1"),
    "columns": market("c.mtx", "coordinate", "9 2000000000 1"),
    "dense": market("d.mtx", "array", "100000 100000"),
    "npz, claim": archive("claim.npz", user__npy=npy("(1000000000000000,)"), item__npy=one),
    "npz, smaller claim": archive("virtual.npz", user__npy=npy("(200000000,)"), item__npy=one),
    "npz, wide text": archive("wide.npz", user__npy=npy("(1,)", descr="<U400000000"), item__npy=one),
    "npz": archive("bomb.npz", user__npy=npy("(1250000,)", bytes(10 * mega)), item__npy=one),
    "npz, nested": archive("nested.npz", user__npy=b"\x93NUMPY\x01\x00\x00\x20" + b"-" * 8192, item__npy=one),
    "npy": put("npy.npz", npy("(1000000000000000,)")),
    "coo": matrix("coo", [2 * 10**9, 2], row=[0], col=[0], data=[1.0]),
    "csr": matrix("csr", [1, 2 * 10**9], indptr=[0, 1], indices=[0], data=[1.0]),
    "dia": matrix("dia", [2**40, 2**40], offsets=[0], data=[[1.0]]),
}
lists = {"list": put("list.txt", b"0 ", b"1" * (40 * mega)), "list, gzip": put("list.gz", *[rows] * 100)}
archives = {"movielens": archive("ml.zip", u__data=bytes(8 * mega), u__item=b"1|a")}
headers = {"deep": b"[" * (4 * mega), "wide": b"[" + b"[]," * (2 * mega) + b"1]", "long": b"1" * (4 * mega)}
models = {name: put(f"{name}.fastals") for name in headers}
for name, path in models.items():
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("header.json", headers[name])
os.mkfifo(folder / "pipe")
(folder / "endless").symlink_to("/dev/zero")
with open(folder / "sparse", "wb") as hole:
    hole.truncate(2**38)
everywhere = {name: folder / name for name in ("pipe", "endless", "sparse")}
cases = [
    (read_interactions, texts | everywhere),
    (read_adjacency_list, lists | everywhere),
    (lambda path: load_movielens("100k", path=path), archives | everywhere),
    (ImplicitALS.load, models | everywhere),
    (lambda path: ImplicitALS.load(path, mmap=True), models | everywhere),
    (read_state, models | everywhere),
]
del ids, letters, zeros, rows, headers
if os.path.exists("/proc/self/statm"):
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 4000 * mega
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
warnings.simplefilter("error")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number, (read, paths) in enumerate(cases):
    for name, path in paths.items():
        try:
            outcome = f"read: {read(path)}"
        except ValueError as error:
            outcome = "refused" if str(path) in str(error) else f"names no file: {error}"
        except BaseException as error:
            outcome = repr(error)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        print(f"{number} {name}, {peak} MB|{outcome[:300]}", file=sys.stderr)
        print(f"{number} {name}|{outcome[:300]}")
print(f"memory|{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024}")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits and special files of POSIX")
def test_are_refused_in_little_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = dict(line.split("|", 1) for line in done.stdout.splitlines())
    assert int(outcomes.pop("memory")) < 250  # megabytes
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "refused"} == {}
    assert len(outcomes) == 48
