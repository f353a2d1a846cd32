"""README's Python examples run as they stand, and print what they are there to show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
PRINTED = {"ranking_metrics_at_k": "ndcg", "Interactions": "['abba']"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_example(name, tmp_path):
    (example,) = (block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if name in block)
    command = [sys.executable, "-W", "error", "-c", example]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert PRINTED[name] in done.stdout
    if name == "ranking_metrics_at_k":
        (shown,) = re.findall(r"```text\n(RankingMetrics.*?)```", TEXT, re.DOTALL)
        got, expected = (re.split(r"(\d+\.\d+)", text.rstrip()) for text in (done.stdout, shown))
        assert got[::2] == expected[::2]
        # Another processor rounds otherwise, which may turn neighbours in a list round.
        assert [float(one) for one in got[1::2]] == pytest.approx([float(one) for one in expected[1::2]], abs=5e-3)


@pytest.mark.skipif(not (README.parent / "notebooks").is_dir(), reason="the source distribution has no site")
def test_links_lead_to_files_of_the_repository():
    targets = re.findall(r"\]\(([^)#]+)", TEXT)
    missing = [one for one in targets if not one.startswith("http") and not (README.parent / one).exists()]
    assert targets
    assert not missing
