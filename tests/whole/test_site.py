"""What the site is built with: links that are checked, tables made from results, docstrings brought into its form."""

import json
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SITE = REPOSITORY / "notebooks" / "site"
PUBLISHED = sorted((REPOSITORY / "asv_benchmarks" / "published").glob("*.json"))
pytestmark = pytest.mark.skipif(not SITE.is_dir(), reason="the source distribution has no site")


@pytest.fixture(autouse=True)
def _on_path(monkeypatch):
    monkeypatch.syspath_prepend(SITE)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "extensions"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("other.html", False),
        ("other.html#there", False),
        ("#here", False),
        ("other.html?highlight=x#there", False),
        ("https://elsewhere.example/x.html#y", False),
        ("other.html#nowhere", True),
        ("#nowhere", True),
        ("missing.html", True),
        ("folder/other.html", True),
    ],
)
def test_links_inside_the_site_are_checked(link, is_broken, tmp_path):
    from extensions.links import broken_links

    (tmp_path / "index.html").write_text(f'<h1 id="here">x</h1><a href="{link}">y</a>')
    (tmp_path / "other.html").write_text('<h1 id="there">x</h1><img src="index.html">')

    assert broken_links(tmp_path) == ([f"index.html: {link}"] if is_broken else [])


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_results_name_machine_date_and_command(path):
    from extensions.result_tables import table

    result = json.loads(path.read_text(encoding="utf-8"))
    lines = table(result).splitlines()

    assert {len(row) for row in result["rows"]} == {len(result["columns"])}
    assert lines[0].startswith(f"Measured on {result['date']}: {result['machine']}")
    assert result["command"] in lines
    assert sum(line.startswith("| ") for line in lines) == len(result["rows"]) + 2


def test_names_in_texts():
    from extensions.short_names import by_short_name

    got = by_short_name(
        ["fastals.C", "fastals.a.tune", "fastals.a.D", "fastals.a.D.fit", "fastals.b.twice", "fastals.c.twice"]
    )

    assert got == {
        "C": "fastals.C", "tune": "fastals.a.tune", "D": "fastals.a.D", "D.fit": "fastals.a.D.fit",
        **{name: name for name in ("fastals.C", "fastals.a.tune", "fastals.a.D", "fastals.a.D.fit")},
        "fastals.b.twice": "fastals.b.twice", "fastals.c.twice": "fastals.c.twice",
    }  # fmt: skip


def test_a_table_of_results():
    from extensions.result_tables import table

    result = {
        "date": "2026-01-02",
        "machine": "two cores",
        "command": "python x.py",
        "columns": ["data", "ms", "times"],
    }
    got = table({**result, "versions": {"numba": "0.62"}, "rows": [["a", 1234, "> 8.1"], ["b", 5, None]]})

    assert got == (
        "Measured on 2026-01-02: two cores; numba 0.62.\n\n```sh\npython x.py\n```\n\n"
        "| data | ms | times |\n| --- | --: | --: |\n| a | 1,234 | > 8.1 |\n| b | 5 | – |\n"
    )


def test_docstrings_keep_formulas_bars_and_addresses():
    from extensions.docstrings import prepared

    lines = [
        "Minimises |p| as Recall@20 and ``|q|``,",
        "",
        "    sum |p|^2",
        "",
        "so [1]_.",
        "",
        "Parameters",
        "----------",
    ]
    lines += ["p : float", "    About |p|.", "", "    Still about p.", "", ".. [1] Y. Hu, 2008."]

    got = prepared(lines, is_module=False)

    assert got[0] == r"Minimises \|p\| as Recall\@20 and ``|q|``,"
    assert got[2:6] == [".. code-block:: text", "", "    sum |p|^2", ""]
    assert r"    About \|p\|." in got
    assert got.count(".. code-block:: text") == 1
    assert got[-1] == r".. [1] \Y. Hu, 2008."
    as_module = prepared(lines, is_module=True)
    assert "so [1]." in as_module
    assert ".. rubric:: Parameters" in as_module
    assert as_module[-1] == r"1. \Y. Hu, 2008."
