"""README's Python examples run as they stand, and print what they are there to show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
PRINTED = {"ranking_metrics_at_k": "ndcg", "Interactions": "['abba']"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_example(name, tmp_path):
    (example,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
        if name in block
    )
    command = [sys.executable, "-W", "error", "-c", example]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert PRINTED[name] in done.stdout
