"""A server of data sets that is a folder on this disk."""

import hashlib
from pathlib import Path

import pytest

from fastals.datasets.download import SOURCES, Source


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A function that serves content as a source, and returns the file it is served from: none means offline."""
    pytest.importorskip("pooch")

    def start(name: str, content: bytes) -> Path:
        served = tmp_path / "served.zip"

        def download(url, output, *arguments):
            if not served.exists():
                raise ConnectionError("offline")
            Path(output).write_bytes(served.read_bytes())

        monkeypatch.setattr("pooch.core.choose_downloader", lambda *arguments, **options: download)
        known = Source("https://example.org/ml.zip", f"sha256:{hashlib.sha256(content).hexdigest()}", "only for tests")
        monkeypatch.setitem(SOURCES, name, known)
        served.write_bytes(content)
        return served

    return start
