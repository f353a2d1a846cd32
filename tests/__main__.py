"""Run all tests, some folders of them at a time in a process of their own.

    python tests [--jobs 2] [options of pytest ...]

A process keeps what it has imported and compiled until it ends, some 1 GB after all tests. So each large folder has a
fresh one, and three small ones (of ``whole``: files) share one; the longest come first, ``--jobs`` processes at a time.
What pytest prints follows when a part has ended.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS / "support"))
from warming import warm  # noqa: E402

# Alone in their processes, by measured time; what is not named here comes last, three at a time.
LONGEST = (
    "distributed", "kernels", "solver", "serving", "tables", "kernels/rows", "whole/test_processes.py", "kernels/dense",
    "whole/test_hosts.py", "whole/test_determinism.py",
)  # fmt: skip


def main() -> int:
    """Run what the command line asks for; the number of parts that failed is the exit code."""
    parser = argparse.ArgumentParser(prog="python tests", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="parts at a time")
    options, more = parser.parse_known_args()
    began = time.perf_counter()
    warm()
    failed, counts = [], Counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(run, files, more): name for name, files in parts().items()}
        for done in as_completed(running):
            result, seconds = done.result()
            print(f"\n=== {running[done]} ({seconds:.0f} s)\n{result.stdout}", flush=True)
            for count, outcome in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", result.stdout[-200:]):
                counts[outcome] += int(count)
            if result.returncode not in (0, 5):  # 5: the options leave no test of this part
                failed.append(running[done])
    total = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    print(f"\n{len(running)} parts after {time.perf_counter() - began:.0f} s: {total}")
    print(f"FAILED: {', '.join(sorted(failed))}" if failed else "all parts passed")
    return len(failed)


def parts() -> dict[str, list[str]]:
    """The files of each part by its name; every test file is in one."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        one = path if path.parent.name == "whole" else path.parent
        found.setdefault(one.relative_to(TESTS).as_posix(), []).append(str(path))
    rest = [name for name in found if name not in LONGEST]
    groups = [[name] for name in LONGEST] + [rest[first : first + 3] for first in range(0, len(rest), 3)]
    return {", ".join(group): [file for name in group for file in found[name]] for group in groups}


def run(files: list[str], more: list[str]) -> tuple[subprocess.CompletedProcess, float]:
    """Run one part."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", *more, *files]
    result = subprocess.run(
        command, cwd=TESTS.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    return result, time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
