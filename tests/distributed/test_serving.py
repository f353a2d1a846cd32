"""What a shard is asked of a fitted model."""

import numpy as np
from serial_executor import sharded_fit

from fastals.distributed.serving import Query, factors_of, recommend_shard, write_users


def test_lists_of_a_shard_leave_out_what_its_users_have(plays, make):
    training, P = sharded_fit(make(), plays)
    shards, users = training.users.shards.references, training.users.factors.references
    parameters = {
        name: value for name, value in make().get_params().items() if name not in ("client", "pairs_per_shard")
    }
    query = Query(parameters, 1.0, 4, True, None, None)
    ids = np.concatenate(
        [recommend_shard(*pair, training.items.factors, query)[0] for pair in zip(shards, users, strict=True)]
    )

    scores = P @ training.items.factors.T
    scores[plays.toarray() != 0] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :4]
    agree = (ids == expected).mean()
    assert agree > 0.99  # but for scores that are equal in float32
    assert not (plays.toarray() != 0)[np.arange(300)[:, None], ids].any()


def test_files_of_users_factors(plays, make, tmp_path):
    training, P = sharded_fit(make(), plays)
    solved, bounds = training.users.factors.references[1], training.users.shards.bounds
    path = write_users(solved, str(tmp_path / "new"), int(bounds[1]), int(bounds[2]))
    assert path.endswith(f"users-{bounds[1]:012d}-{bounds[2]:012d}.npy")
    np.testing.assert_array_equal(np.load(path), P[bounds[1] : bounds[2]])
    assert factors_of(solved) is solved.X
    assert [file.name for file in (tmp_path / "new").iterdir()] == [path.rpartition("/")[2]]
