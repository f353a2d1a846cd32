import numpy as np
from lightfm import LightFM
from lightfm.cross_validation import random_train_test_split
from lightfm.data import Dataset
from lightfm.evaluation import precision_at_k

rng = np.random.default_rng(0)
users, chosen = rng.integers(0, 300, 9_000), rng.integers(0, 200, 9_000)
chosen = np.where(rng.random(9_000) < 0.7, 10 * (chosen // 10) + users % 10, chosen)
pairs = sorted(set(zip(users.tolist(), chosen.tolist(), strict=True)))
log = [(user, f"song {song}") for user, song in pairs]

dataset = Dataset()
dataset.fit((user for user, _ in log), (song for _, song in log))
interactions, _ = dataset.build_interactions(log)
train, test = random_train_test_split(interactions, test_percentage=0.2, random_state=0)

model = LightFM(no_components=32, loss="warp", random_state=0)
model.fit(train, epochs=15, num_threads=2)

users, _, songs, _ = dataset.mapping()
scores = model.predict(users[7], np.arange(len(songs)))
names = np.array(list(songs))
print(names[np.argsort(-scores)[:5]])
print(precision_at_k(model, test, train, k=10).mean())
