"""Data to try things on: a generator, readers, and loaders of public data sets."""

from fastals.datasets.loaders import (
    Dataset,
    SplitDataset,
    load_goodbooks,
    load_gowalla,
    load_lastfm,
    load_movielens,
    load_yelp2018,
    read_adjacency_list,
)
from fastals.datasets.synthetic import SyntheticData, make_interactions
from fastals.tables.readers import read_interactions

__all__ = [
    "Dataset",
    "SplitDataset",
    "SyntheticData",
    "load_goodbooks",
    "load_gowalla",
    "load_lastfm",
    "load_movielens",
    "load_yelp2018",
    "make_interactions",
    "read_adjacency_list",
    "read_interactions",
]
