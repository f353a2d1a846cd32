"""Race fastals against implicit and irspack: the same loss, the same data, each library with its best settings.

    python asv_benchmarks/race.py --json race.json --plot race.svg

sets up the peers in an environment of their own (``--peers-env``), races on the data sets of ``--data`` (on generated
data where that folder is absent), and prints seconds a sweep, seconds to come within 0.5 % and 0.1 % of the least loss
anyone reached, peak memory, and how the aims were met.  ``--check`` proves instead that every contender minimises the
same loss.  ``--from-json race.json`` prints and draws a finished race again.

Every run has a process of its own.  Contenders take turns within a repeat, and every ratio is taken within one repeat.
The first repeat evaluates the loss after each sweep, outside of the timed part; the later ones repeat the same sweeps
from the same start for their time alone, up to the sweep that came within 0.1 % (at least four).

``fastals`` is the library as it comes; ``fastals-cg`` and ``fastals-cholesky`` leave the items' extrapolation out, so
that a sweep of theirs does what a sweep of the peers does.

A contender's name may carry a setting: ``fastals-cg:1e-3`` (tolerance), ``implicit-cg:5`` and ``irspack-cg:5``
(steps), ``irspack-ials++:32`` (subspace dimension).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path
from typing import Any

import race_report as report
from published import SYSTEM, processor, publish
from race_contenders import EXACT
from race_data import GENERATED, REAL

HERE = Path(__file__).resolve().parent
PEERS = ("implicit", "irspack", "threadpoolctl")
RACED = {"contenders": "contender", "datasets": "data", "factors": "factors"}  # options, and their names in a run
SETTINGS = ("sweeps", "cap", "repeats", "threads", "alpha", "regularization", "start")  # of all runs
CONTENDERS = (
    "fastals", "fastals-cg:1e-4", "fastals-cholesky", "implicit-cg", "implicit-cholesky",
    "irspack-cg", "irspack-cholesky", "irspack-ials++:16", "irspack-ials++:64",
)  # fmt: skip


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), metavar="NAME", help=f"of {CONTENDERS}")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help=f"of {REAL + GENERATED}; default the real ones")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data", help="folder of .npz files")
    parser.add_argument("--generated", action="store_true", help="race on generated data")
    parser.add_argument(
        "--factors",
        nargs="+",
        type=int,
        default=[64, 128, 256],
        metavar="K",
        help="lengths of the factors; a race for each",
    )
    parser.add_argument("--sweeps", type=int, default=100, help="sweeps of a run at most")
    parser.add_argument("--cap", type=float, default=120.0, help="solver seconds after which a run stops")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender; medians are reported")
    parser.add_argument("--threads", type=int, default=2, help="threads that each contender may use")
    parser.add_argument("--alpha", type=float, default=10.0, help="weight of a stored pair: c = 1 + alpha")
    parser.add_argument("--regularization", type=float, default=10.0, help="lambda, the same for all users and items")
    parser.add_argument(
        "--start",
        choices=["best", "own", "common"],
        default="best",
        help="first factors: each library's own; the same small normal ones for all; or the better of the two, which "
        "is the normal ones for implicit (its uniform ones cost it several times the sweeps on dense data)",
    )
    parser.add_argument("--peers-env", type=Path, default=HERE.parent / ".peers-venv", help="environment of the peers")
    parser.add_argument("--json", type=Path, help="write the runs here, after each of them")
    parser.add_argument("--publish", action="store_true", help="write the summary that the site shows")
    parser.add_argument("--plot", type=Path, help="write a figure here (.png or .svg), one for each K")
    parser.add_argument("--check", action="store_true", help="prove that all minimise the same loss, and stop")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="report on a finished race")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.contenders if name.partition(":")[0] not in EXACT]
    if unknown:
        parser.error(f"unknown contenders {unknown}; known are {list(EXACT)}")
    if options.datasets is None:
        absent = not options.data.is_dir()
        if absent and not options.generated:
            print(f"{options.data} is not there: racing on generated data", file=sys.stderr)
        options.datasets = list(GENERATED if options.generated or absent else REAL)
    return options


@cache
def peers_python(folder: Path) -> str:
    """The interpreter of the peers' environment; makes that, or completes it, where something is missing."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        (folder / ".gitignore").write_text("*\n")
    find = f"import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, {PEERS})))"
    if subprocess.run([python, "-c", find]).returncode:
        print(f"installing {', '.join(PEERS)} in {folder}", file=sys.stderr)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return str(python)


def environment(threads: int) -> dict[str, str]:
    """What every contender's process sees, fastals and peers alike."""
    env = dict(os.environ)
    # These two make OpenBLAS use the kernels of an older processor, or block for a smaller cache.
    env.pop("OPENBLAS_CORETYPE", None)
    env.pop("OPENBLAS_L2_SIZE", None)
    if threads < (os.cpu_count() or threads):  # else a library's BLAS would take cores that the race did not give it
        env.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), str(threads)))
    # The checkout's own fastals; the peers never import it.
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), env.get("PYTHONPATH")]))
    return env


def run(contender: str, options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """One contender in a process of its own; a dict with "error" where it fails."""
    kind, _, variant = contender.partition(":")
    python = sys.executable if kind.startswith("fastals") else peers_python(options.peers_env)
    settings = {
        "kind": kind, "variant": variant, "folder": str(options.data), "threads": options.threads,
        "alpha": options.alpha, "regularization": options.regularization, "start": options.start,
        "sweeps": options.sweeps, "cap": options.cap, "check": False, **more,
    }  # fmt: skip
    env = environment(options.threads)
    command = [python, str(HERE / "race_contenders.py")]
    done = subprocess.run(command, input=json.dumps(settings), capture_output=True, text=True, env=env)
    if done.returncode:
        return {"error": done.stderr.strip()[-2000:] or f"exit status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def check(options: argparse.Namespace) -> bool:
    """Each library's half-sweeps, solved exactly, against the dense normal equations of the loss of the race."""
    rows, passed = [["contender", "order", "factor error", "loss error", ""]], True
    for kind, exact in EXACT.items():
        got = run(f"{kind}:{exact}", options, check=True, factors=12)
        if "error" in got:
            print(f"{kind}: {got['error']}", file=sys.stderr)
            rows.append([kind, "", "", "", "FAILED"])
            passed = False
            continue
        fine = got["factor_error"] < 2e-5 and got["loss_error"] < 1e-12
        passed &= fine
        verdict = "same loss" if fine else "DIFFERS"
        rows.append([kind, got["order"], f"{got['factor_error']:.1e}", f"{got['loss_error']:.1e}", verdict])
    print(report.aligned(rows))
    return passed


def race(options: argparse.Namespace) -> dict[str, Any]:
    """All runs, written to the JSON file as they come in."""
    result: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "processor": processor(), "system": SYSTEM},
        "settings": {key: getattr(options, key) for key in SETTINGS},
        "runs": [],
        "failures": [],
    }
    runs = result["runs"]
    for repeat in range(options.repeats):
        for data in options.datasets:
            for factors in options.factors:
                # Each repeat begins with another contender, so that no one always runs first on a rested machine.
                turn = repeat % len(options.contenders)
                for contender in options.contenders[turn:] + options.contenders[:turn]:
                    entry = {"contender": contender, "data": data, "factors": factors, "repeat": repeat}
                    sweeps = options.sweeps if repeat == 0 else sweeps_again(runs, contender, data, factors)
                    # The sweeps of a later repeat are known to fit under the cap; a busy machine must not cut them off.
                    cap = options.cap if repeat == 0 else 3 * options.cap
                    limits = {"sweeps": sweeps, "cap": cap, "evaluate": repeat == 0}
                    got = {**entry, **run(contender, options, data=data, factors=factors, **limits)}
                    result["failures" if "error" in got else "runs"].append(got)
                    print(progress(got), file=sys.stderr, flush=True)
                    if options.json:
                        options.json.write_text(json.dumps(result))
    return result


def progress(got: dict[str, Any]) -> str:
    """One line on a run that has ended."""
    where = f"repeat {got['repeat']}  {got['data']}  k={got['factors']}  {got['contender']}"
    if "error" in got:
        return f"{where} failed: {got['error'].splitlines()[-1]}"
    each = f"{report.sweep_seconds(got):.3f} s each"
    return f"{where}: {len(got['seconds'])} sweeps, {each}, loss {got['last_loss']:.7g}"


def sweeps_again(runs: report.Runs, contender: str, data: str, factors: int) -> int:
    """How far a later repeat goes: to the sweep that came within 0.1 % of the best, and four at least."""
    first = report.of(runs, contender=contender, data=data, factors=factors, repeat=0)
    return max(4, report.sweeps_to(runs, first[0], report.NEAR["0.1 %"]) or 4) if first else 4


def command_of(result: dict[str, Any]) -> str:
    """The command that runs a finished race again."""
    runs, defaults = result["runs"], parse(["--datasets", *REAL])
    raced = {key: list(dict.fromkeys(run[one] for run in runs)) for key, one in RACED.items()} | result["settings"]
    words: list[Any] = ["python asv_benchmarks/race.py --json race.json --plot race.svg"]
    for name, value in raced.items():
        usual = getattr(defaults, name)
        if value != usual and not (isinstance(value, list) and set(value) == set(usual)):
            words += [f"--{name}", *(value if isinstance(value, list) else [value])]
    return " ".join(f"{word:g}" if isinstance(word, float) else str(word) for word in words)


def main() -> int:
    options = parse()
    if options.check:
        return 0 if check(options) else 1
    result = json.loads(options.from_json.read_text()) if options.from_json else race(options)
    runs, given = result["runs"], result["settings"]
    if not runs:
        return 1
    versions = {run["contender"].partition("-")[0]: run["version"] for run in runs}
    about = (f"{result['machine']['processor']}, {given['threads']} threads; "
             + ", ".join(f"{name} {number}" for name, number in versions.items())
             + f"; float32, alpha {given['alpha']:g}, regularization {given['regularization']:g}")  # fmt: skip
    print(f"{about}\n\n{report.table(runs)}\n\n{report.targets(runs)}")
    if options.publish:
        origin = {"machine": "{cores} cores, {processor}, {system}".format(**result["machine"]), "versions": versions}
        command = command_of(result)
        contenders = {run["contender"] for run in runs}
        if "fastals" in contenders:
            title = "Seconds until the loss is within 0.1 % of the best that anyone reached"
            publish("race", title, command, *report.summary(runs), **origin)
        if contenders.issuperset(report.SWEEPS):
            publish("race-sweeps", "Milliseconds of a sweep", command, *report.sweep_summary(runs), **origin)
    if options.plot:
        from race_plot import draw

        all_factors = list(dict.fromkeys(run["factors"] for run in runs))
        for factors in all_factors:
            name = options.plot.name if len(all_factors) == 1 else f"{options.plot.stem}-{factors}{options.plot.suffix}"
            draw(report.curves(runs, factors), factors, options.plot.with_name(name), about)
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
