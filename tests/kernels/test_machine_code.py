"""The cache of machine code: never stale, never in the way."""

import os
from pathlib import Path

import pytest
from kernel_package import CALL, CALL_PARALLEL, INNER, cache_folders, finish, run, start, write_package

pytestmark = pytest.mark.slow


def block(path: Path) -> None:
    """A file where a folder should be: nothing can be read or written below, not even by root."""
    path.write_text("")


@pytest.mark.parametrize(("script", "expected"), [(CALL, "51.0"), (CALL_PARALLEL, "11.0 21.0 31.0")])
def test_second_process_loads_what_the_first_compiled(tmp_path, script, expected):
    kernels = write_package(tmp_path)

    assert run(tmp_path, script) == [expected, "0 1"]
    assert run(tmp_path, script) == [expected, "1 0"]
    assert len(cache_folders(kernels / "__pycache__")) == 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_edited_callee_changes_its_cached_caller(tmp_path):
    kernels = write_package(tmp_path)
    run(tmp_path)

    (kernels / "inner.py").write_text(INNER.format(factor="100"))

    assert run(tmp_path) == ["501.0", "0 1"]


def test_edit_while_a_process_runs_leaves_no_stale_code(tmp_path):
    kernels = write_package(tmp_path)
    edit = f"import pathlib\npathlib.Path({str(kernels / 'inner.py')!r}).write_text({INNER.format(factor='100')!r})\n"
    old_inner_new_file = "from fastals.kernels.inner import inner\n" + edit + CALL
    new_inner_old_stamp = "import fastals.kernels.jit\n" + edit + CALL

    assert run(tmp_path, old_inner_new_file)[0] == "51.0"
    assert cache_folders(kernels / "__pycache__") == []
    assert run(tmp_path)[0] == "501.0"

    (kernels / "inner.py").write_text(INNER.format(factor="10"))
    run(tmp_path)
    assert run(tmp_path, new_inner_old_stamp)[0] == "501.0"
    (kernels / "inner.py").write_text(INNER.format(factor="10"))
    assert run(tmp_path) == ["51.0", "1 0"]


def test_stale_bytecode_of_python_leaves_no_stale_code(tmp_path):
    # Of the same length and time, so Python takes the old bytecode.
    inner = write_package(tmp_path) / "inner.py"
    run(tmp_path, PYTHONDONTWRITEBYTECODE="")
    times = inner.stat()
    inner.write_text(INNER.format(factor="20"))
    os.utime(inner, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert run(tmp_path, PYTHONDONTWRITEBYTECODE="") == ["51.0", "0 1"]
    os.utime(inner, (2, 2))  # bytecode goes by whole seconds
    assert run(tmp_path, PYTHONDONTWRITEBYTECODE="") == ["101.0", "0 1"]
    os.utime(inner, (1, 1))
    assert run(tmp_path, PYTHONDONTWRITEBYTECODE="") == ["101.0", "1 0"]


@pytest.mark.parametrize("upgraded", ["numba.__version__", "llvmlite.__version__", "platform.machine"])
def test_other_compiler_or_machine_has_its_own_folder(tmp_path, upgraded):
    kernels = write_package(tmp_path)
    run(tmp_path)
    value = "'9.9'" if "version" in upgraded else "lambda: 'another'"

    got = run(tmp_path, f"import llvmlite, numba, platform\n{upgraded} = {value}\n{CALL}")

    assert got == ["51.0", "0 1"]
    assert len(cache_folders(kernels / "__pycache__")) == 2


def test_other_cpu_settings_compile_anew(tmp_path):
    write_package(tmp_path)
    run(tmp_path)

    assert run(tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == ["51.0", "0 1"]


def test_read_only_install_uses_the_users_folder(tmp_path):
    kernels = write_package(tmp_path)
    block(kernels / "__pycache__")

    assert run(tmp_path)[1] == "0 1"
    assert run(tmp_path)[1] == "1 0"
    assert list((tmp_path / "home").rglob("outer-*.bin"))


def test_without_any_folder_kernels_still_run(tmp_path):
    kernels = write_package(tmp_path)
    block(kernels / "__pycache__")
    block(tmp_path / "home")

    for _ in range(2):
        assert run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "home" / "below")) == ["51.0", "0 1"]


def test_numba_cache_dir_comes_first(tmp_path):
    kernels = write_package(tmp_path)

    run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "chosen"))

    assert len(cache_folders(tmp_path / "chosen")) == 1
    assert cache_folders(kernels / "__pycache__") == []
    assert run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "chosen"))[1] == "1 0"


def test_full_disk_leaves_the_call_alone(tmp_path):
    kernels = write_package(tmp_path)
    full = """
import builtins, errno, os
class Full:
    def __init__(self, descriptor, mode): self.descriptor = descriptor
    def __enter__(self): return self
    def __exit__(self, *error): os.close(self.descriptor)
    def write(self, data):
        os.write(self.descriptor, data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")
import fastals.kernels.private_folder as folder
folder.open = lambda descriptor, mode: Full(descriptor, mode) if mode == "wb" else builtins.open(descriptor, mode)
"""

    assert run(tmp_path, full + CALL) == ["51.0", "0 1"]
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tmp", ".bin")]
    assert len(cache_folders(kernels / "__pycache__")) == 1


@pytest.mark.parametrize("kept", [0, 40, -1])
def test_damaged_entry_is_compiled_anew(tmp_path, kept):
    kernels = write_package(tmp_path)
    run(tmp_path)
    for path in kernels.rglob("*.bin"):
        path.write_bytes(path.read_bytes()[:kept])

    assert run(tmp_path) == ["51.0", "0 1"]
    assert run(tmp_path) == ["51.0", "1 0"]


@pytest.mark.parametrize("position", [0, 31, 32, 1000, -1])
def test_flipped_bit_is_noticed(tmp_path, position):
    kernels = write_package(tmp_path)
    run(tmp_path)
    for path in kernels.rglob("*.bin"):
        content = bytearray(path.read_bytes())
        content[position] ^= 4
        path.write_bytes(content)

    assert run(tmp_path) == ["51.0", "0 1"]


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_file_size_limit_leaves_the_call_alone(tmp_path):
    write_package(tmp_path)
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"

    assert run(tmp_path, limit + CALL) == ["51.0", "0 1"]
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tmp", ".bin")]


def test_unexpected_numba_internals_mean_no_cache(tmp_path):
    write_package(tmp_path)
    changed = "import numba.core.compiler\ndel numba.core.compiler.CompileResult._reduce\n"

    assert run(tmp_path, changed + CALL) == ["51.0", "0 1"]
    assert not list(tmp_path.rglob("*.bin"))


def test_processes_fill_the_cache_at_once(tmp_path):
    kernels = write_package(tmp_path)
    signatures = ("outer(2)\nouter(True)\n", "outer(True)\nouter(2)\n")

    processes = [start(tmp_path, CALL + text) for text in 2 * signatures]
    got = [finish(process)[0] for process in processes]

    assert got == ["51.0"] * 4
    again = "print(outer(2), outer(True), sum(outer.stats.cache_misses.values()))"
    assert run(tmp_path, CALL + again)[1:] == ["1 0", "21 11 0"]
    assert len(list(kernels.rglob("outer-*.bin"))) == 3


def test_old_folders_do_not_pile_up(tmp_path):
    kernels = write_package(tmp_path)
    for number in range(12):
        folder = kernels / "__pycache__" / f"fastals-machine-code-{number:02d}"
        folder.mkdir(parents=True)
        os.utime(folder, (number, number))
    other = kernels / "__pycache__" / "other"
    other.mkdir()

    run(tmp_path)

    names = [path.name for path in cache_folders(kernels / "__pycache__")]
    assert len(names) == 8
    assert set(names) > {f"fastals-machine-code-{number:02d}" for number in range(5, 12)}
    assert other.is_dir()


def test_jit_can_be_disabled(tmp_path):
    write_package(tmp_path)
    script = CALL_PARALLEL.rpartition("print")[0] + "print(type(outer_all))"

    assert run(tmp_path, script, NUMBA_DISABLE_JIT="1") == ["11.0 21.0 31.0", "<class 'function'>"]


def test_functions_outside_the_package_are_not_cached(tmp_path):
    kernels = write_package(tmp_path)
    (tmp_path / "elsewhere.py").write_text(INNER.format(factor="3"))

    assert run(tmp_path, "import elsewhere\nprint(elsewhere.inner(2))") == ["6"]
    assert not list(kernels.rglob("*.bin"))
