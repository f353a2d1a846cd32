import numpy as np

from fastals import ImplicitALS
from fastals.evaluation import ranking_metrics_at_k, train_test_split
from fastals.interactions import Interactions

rng = np.random.default_rng(0)
users, chosen = rng.integers(0, 300, 9_000), rng.integers(0, 200, 9_000)
chosen = np.where(rng.random(9_000) < 0.7, 10 * (chosen // 10) + users % 10, chosen)
pairs = sorted(set(zip(users.tolist(), chosen.tolist(), strict=True)))
log = [(user, f"song {song}") for user, song in pairs]

table = Interactions.from_arrays([user for user, _ in log], [song for _, song in log])
train, test = train_test_split(table.user_items, test_size=0.2, random_state=0)

model = ImplicitALS(factors=32, iterations=15, random_state=0)
model.fit(train)

songs, scores = model.recommend(table.user_index(7), N=5)
print(table.item_ids[songs])
print(ranking_metrics_at_k(model, train, test, K=10)["precision"])
