"""Downloads: checked, cached, and their licence told; the network is a folder."""

import pytest

from fastals.datasets.download import SOURCES, fetch

CONTENT = b"what a server has"


def test_file_is_downloaded_once_and_its_licence_printed(serve, tmp_path, capsys):
    served = serve("ml-100k", CONTENT)

    got = fetch("ml-100k", tmp_path / "cache")

    assert got.read_bytes() == CONTENT
    assert "only for tests" in capsys.readouterr().err
    served.unlink()
    assert fetch("ml-100k", tmp_path / "cache") == got
    assert capsys.readouterr().err == ""


def test_damaged_download_is_refused(serve, tmp_path):
    serve("ml-100k", CONTENT).write_bytes(b"something else")
    with pytest.raises(ValueError, match="hash"):
        fetch("ml-100k", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_offline_message_says_what_to_do(serve, tmp_path):
    serve("ml-100k", CONTENT).unlink()
    with pytest.raises(
        OSError, match=r"could not download https://example\.org/ml\.zip .* pass where it lies as path="
    ):
        fetch("ml-100k", tmp_path / "cache")


def test_every_source_has_a_hash_and_a_licence():
    lengths = {"sha256": 64, "md5": 32}
    for source in SOURCES.values():
        algorithm, digest = source.known_hash.split(":")
        assert len(digest) == lengths[algorithm]
        assert source.url.startswith("https://")
        assert source.licence
