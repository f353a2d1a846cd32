"""The commands that the site shows in its pages run as they stand, on small files of the names they use."""

import gzip
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("duckdb")

from command_line import run

from fastals.datasets.synthetic import make_interactions

SITE = Path(__file__).parents[2] / "notebooks" / "site"
PAGES = ["start/command_line.md", "start/install.md", "guides/larger_than_memory.md"]
NOT_RUN = ("--install-completion",)  # writes to the home folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SITE.is_dir(), reason="the source distribution has no site"),
]


def commands(page):
    """Arguments of each command line of fastals in the shell blocks of a page."""
    blocks = re.findall(r"```sh\n(.*?)```", (SITE / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in found if words[:1] == ["fastals"] and words[1] not in NOT_RUN]


def write_files():
    """In the current folder."""
    pairs = make_interactions(60, 40, mean_per_user=8, random_state=0).user_items.tocoo()
    users = [f"u{u}" if u else "ann" for u in pairs.row.tolist()]
    items = [f"i{i}" if i else "some artist" for i in pairs.col.tolist()]
    rows = [f"{u},{i},{n:g}" for u, i, n in zip(users, items, pairs.data.tolist(), strict=True)]
    Path("plays.csv").write_text("\n".join(["user,item,plays", *rows, "ann,some artist,3"]) + "\n")
    Path("log.csv").write_text(
        "\n".join(["quantity,sku,customer", *(",".join(r.split(",")[::-1]) for r in rows)]) + "\n"
    )
    Path("items.csv").write_text("item,genre\n" + "".join(f"{i},{'ab'[len(i) % 2]}\n" for i in sorted(set(items))))
    Path("users.csv").write_text("user,age\n" + "".join(f"{u},{20 + len(u)}\n" for u in sorted(set(users))))
    Path("days").mkdir()
    for day in ("2026-11-27", "2026-11-28"):
        with gzip.open(f"days/{day}.csv.gz", "wt") as file:
            file.write(Path("plays.csv").read_text())


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files()
    lines = commands(page)
    assert len(lines) >= 2
    for arguments in lines:
        run(*arguments)


def test_no_other_page_has_commands():
    others = [path.relative_to(SITE).as_posix() for path in SITE.rglob("*.md") if "_build" not in path.parts]
    assert sorted(page for page in others if commands(page)) == sorted(PAGES)
