"""Build the site into notebooks/site/_build/html, check it, leave nothing else behind.

    python notebooks/site/build.py             build, and check examples and links
    python notebooks/site/build.py --online    and link NumPy's and others' names
    python notebooks/site/build.py --fresh     without what an earlier build executed

Needs the extra `docs`. Pages, notebooks and scripts are executed; what has not changed
since the last build is taken from its cache. Every warning is an error. The pages need
no network to be read.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from extensions.links import broken_links
from extensions.result_tables import write_tables

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BUILD = HERE / "_build"
SOURCE = BUILD / "source"


def gather() -> None:
    """Lay the sources out as the site shows them, in one folder."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(
        HERE, SOURCE, ignore=shutil.ignore_patterns("_build", "__pycache__", "build.py")
    )
    for notebook in sorted(HERE.parent.glob("*.ipynb")):
        shutil.copy2(notebook, SOURCE / "gallery" / notebook.name)
    for name in ("CONTRIBUTING.md", "SECURITY.md"):
        shutil.copy2(REPOSITORY / ".github" / name, SOURCE / "project" / name.lower())
    shutil.copy2(
        REPOSITORY / "asv_benchmarks" / "race.svg", SOURCE / "benchmarks" / "race.svg"
    )
    write_tables(
        REPOSITORY / "asv_benchmarks" / "published", SOURCE / "benchmarks" / "tables"
    )


def run_scripts() -> None:
    """Run the scripts that the pages show, each beside what it prints."""
    folder = SOURCE / "coming_from" / "scripts"
    for script in sorted(folder.glob("*_after.py")):
        done = subprocess.run(
            [sys.executable, "-W", "error", script.name],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{script.name} failed:\n{done.stderr}")
        script.with_suffix(".txt").write_text(done.stdout)


def sphinx(builder: str, online: bool, jobs: int) -> None:
    """Run one builder of Sphinx, all of them on the same reading of the sources."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-b",
        builder,
        "-W",
        "--keep-going",
        "-q",
        "-j",
        str(jobs),
    ]
    command += ["-d", str(BUILD / "doctrees"), str(SOURCE), str(BUILD / builder)]
    environment = {
        **os.environ,
        "FASTALS_SITE_ONLINE": "1" if online else "",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        # Of progress bars, which need no widgets here.
        "PYTHONWARNINGS": "ignore:IProgress not found",
    }
    if subprocess.run(command, env=environment).returncode:
        sys.exit(f"the site has faults, see above (sphinx -b {builder})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--online", action="store_true", help="fetch the inventories of other projects"
    )
    parser.add_argument("--fresh", action="store_true", help="execute everything anew")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="pages at a time; times that a page measures are only true of one",
    )
    options = parser.parse_args()
    began = time.perf_counter()
    if options.fresh:
        shutil.rmtree(BUILD, ignore_errors=True)
    gather()
    run_scripts()
    sphinx("html", options.online, options.jobs)
    sphinx("doctest", options.online, 1)
    broken = broken_links(BUILD / "html")
    if broken:
        sys.exit("\n".join(["links that lead nowhere:", *broken]))
    pages = len(list((BUILD / "html").rglob("*.html")))
    seconds = time.perf_counter() - began
    print(f"{pages} pages in {BUILD / 'html'}, no warnings, {seconds:.0f} s")


if __name__ == "__main__":
    main()
