"""Public data sets: where they are, what they must hash to, what their owners allow, and a cache of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["SOURCES", "Source", "fetch"]

_MOVIELENS = (
    "MovieLens data by GroupLens: research use with acknowledgement; no redistribution and no commercial use without "
    "permission (see the README in the archive)."
)
_LIGHTGCN = "https://raw.githubusercontent.com/gusye1234/LightGCN-PyTorch/947ca2b3b1d2d3545b114145710cb06c4e57b3d2/data"
_GOWALLA = "Gowalla check-ins by SNAP (Cho, Myers, Leskovec 2011), no explicit licence: research use, cite the paper."
_YELP = "Yelp Dataset Challenge 2018: academic, non-commercial use, no redistribution (Yelp Dataset terms of use)."


class Source(NamedTuple):
    """A file to download."""

    url: str
    known_hash: str
    """``algorithm:hexdigest``."""
    licence: str


# Hashes of the MovieLens archives as TensorFlow Datasets has them, of Last.fm as DataRec, of Goodbooks as Ludwig, of
# the Gowalla split as BARS.
SOURCES: dict[str, Source] = {
    **{
        f"ml-{variant}": Source(
            f"https://files.grouplens.org/datasets/movielens/ml-{variant}.zip", f"sha256:{digest}", _MOVIELENS
        )
        for variant, digest in {
            "latest-small": "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
            "100k": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            "1m": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            "20m": "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
            "25m": "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
        }.items()
    },
    "lastfm-2k": Source(
        "https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",
        "md5:296d61afe4e8632b173fc2dd3be20ce2",
        "Last.fm listening data of HetRec 2011: non-commercial use; commercial use needs Last.fm's consent.",
    ),
    "goodbooks-10k": Source(
        "https://github.com/zygmuntz/goodbooks-10k/releases/download/v1.0/goodbooks-10k.zip",
        "sha256:261b97b56db61f3fb2ce5aadbb13704d30179fcc986c17ace665a0af9ed00731",
        "goodbooks-10k by Zygmunt Zajac: CC BY-SA 4.0.",
    ),
    "gowalla-train": Source(f"{_LIGHTGCN}/gowalla/train.txt", "md5:5eec1eb2edb8dd648377d348b8e136cf", _GOWALLA),
    "gowalla-test": Source(f"{_LIGHTGCN}/gowalla/test.txt", "md5:c04e2c4bcd2389f53ed8281816166149", _GOWALLA),
    "yelp2018-train": Source(
        f"{_LIGHTGCN}/yelp2018/train.txt",
        "sha256:1e9568725a9e833d0ac3bae01c94cd95367f73b3bb6104fd26b5f65ea5054093",
        _YELP,
    ),
    "yelp2018-test": Source(
        f"{_LIGHTGCN}/yelp2018/test.txt",
        "sha256:9cd9b37926cd1447a06625ffa7914527573fb097c10cb0bbdb1d1b8ded3742fe",
        _YELP,
    ),
}


def fetch(name: str, data_home: str | Path | None = None) -> Path:
    """Download a file of `SOURCES` unless it is in the cache, and check its hash.

    The licence is printed to standard error when the file is downloaded.

    Parameters
    ----------
    name : str
        A key of `SOURCES`.
    data_home : path, optional
        Folder of the cache. Default: the environment variable ``FASTALS_DATA``, else the user's cache folder.

    Returns
    -------
    Path

    Raises
    ------
    ImportError
        If pooch is not installed.
    OSError
        If the file cannot be downloaded, for instance offline.
    ValueError
        If what was downloaded does not have the hash.
    """
    try:
        import pooch
    except ModuleNotFoundError:
        raise ImportError("downloads need pooch: pip install 'fastals[datasets]'") from None
    source = SOURCES[name]
    folder = Path(data_home or os.environ.get("FASTALS_DATA") or pooch.os_cache("fastals"))
    file = f"{name}{Path(source.url).suffix}"
    if not (folder / file).exists():
        print(f"Downloading {source.url} to {folder}\n{source.licence}", file=sys.stderr)
    try:
        return Path(pooch.retrieve(source.url, source.known_hash, fname=file, path=folder))
    except OSError as error:
        raise OSError(
            f"could not download {source.url} ({error}); fetch it by other means and pass where it lies as path=..."
        ) from error
