import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.evaluation import ranking_metrics_at_k, train_test_split

# Everyone has a taste for every tenth item, from another one on.
rng = np.random.default_rng(0)
users, chosen = rng.integers(0, 2_000, 40_000), rng.integers(0, 500, 40_000)
items = np.where(rng.random(40_000) < 0.7, 10 * (chosen // 10) + users % 10, chosen)
plays = sp.csr_matrix((np.ones(40_000, np.float32), (users, items)))
train, test = train_test_split(plays, test_size=0.2, random_state=0)

# What implicit minimises.
same_function = {"confidence": "raw", "regularization_exponent": 0.0}
model = ImplicitALS(
    factors=32,
    regularization=10.0,
    alpha=2.0,
    iterations=15,
    random_state=0,
    **same_function,
)
model.fit(train)

ids, scores = model.recommend(7, N=5)  # the training rows serve
print(ids)
ids, scores = model.similar_items(3, N=5)
print(ids)
print(ranking_metrics_at_k(model, train, test, K=10))
model.save("model.fastals")
