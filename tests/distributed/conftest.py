"""What tests of distributed fits share: small data in several shards, and one cluster of worker processes."""

import pytest
import scipy.sparse as sp
from workers import settle

from fastals.datasets.synthetic import make_interactions
from fastals.distributed import DaskImplicitALS


@pytest.fixture(scope="session")
def plays() -> sp.csr_array:
    """Counts (300, 90), dislikes, an empty row and an empty column among them."""
    made = make_interactions(300, 90, n_groups=3, mean_per_user=9, random_state=0).user_items.tolil()
    made[5, 7], made[6, 7] = -2, -1
    made[3], made[:, 9] = 0, 0
    return sp.csr_array(made)


@pytest.fixture
def make():
    """A model of six factors whose fit to ``plays`` has five to eight shards."""

    def model(**parameters) -> DaskImplicitALS:
        chosen = {"factors": 6, "iterations": 4, "random_state": 0, "pairs_per_shard": 400}
        chosen |= {"regularization": 2.0, "regularization_exponent": 0.5}
        return DaskImplicitALS(**{**chosen, **parameters})

    return model


@pytest.fixture(scope="session")
def cluster():
    """Two workers, processes of one thread each."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as made:
        yield made


@pytest.fixture
def client(cluster):
    from distributed import Client

    # By its address: wait_for_workers of a client that knows the cluster's object replaces what that object knows of
    # its workers. A worker that leaves meanwhile is then unknown to the cluster's watcher, and close raises KeyError.
    with Client(cluster.scheduler_address) as made:
        settle(cluster, made)
        yield made
