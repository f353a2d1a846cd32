"""Workers of a cluster that tests kill."""

import time


def settle(cluster, client, workers=2, seconds=90):
    """Wait until the cluster has its workers again, whatever the test before has done to them.

    They have to run in the eyes of those that start them, too: one that is killed before is not replaced. Of two that
    are killed at once Dask replaces one only now and then; it gives the other one up after 15 seconds (2026.8, in one
    of 4 to 17 tries without fastals).
    """
    end = time.monotonic() + seconds
    while True:
        found = client.run(status, nanny=True, on_error="return")
        if len(found) == workers and set(found.values()) == {"running"}:
            return
        assert time.monotonic() < end, found
        cluster.scale(workers)
        time.sleep(0.1)


def status(dask_worker):
    return dask_worker.status.name
