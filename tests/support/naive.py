"""The oracle: implicit ALS on dense float64 matrices, straight from the formulas, without a line of the package.

An objective is a list of terms (W, T), each a dense sum  sum_ui W_ui (T_ui - p_u.q_i)^2  over ALL pairs:
Hu has one, with the confidences and preferences; Rendle's has the stored pairs' and, with T = 0, that of all pairs.
"""

import numpy as np


def weights(R, *, alpha, confidence, epsilon):
    """What a stored value adds to the confidence: alpha |r| or alpha log(1 + |r| / epsilon)."""
    size = np.abs(np.asarray(R, np.float64))
    return alpha * np.log1p(size / epsilon) if confidence == "log" else alpha * size


def terms(R, *, objective="hu", confidence="linear", alpha=1.0, epsilon=1.0, c0=1.0, preference=None, missing=None):
    """Terms of the objective on a dense matrix R, whose zeros are not stored; dislikes are negative.

    ``missing`` (v, w) are weights of the pairs that are not stored.
    """
    R = np.asarray(R, np.float64)
    stored = R != 0
    phi = np.where(stored, R > 0 if preference is None else preference, 0.0)
    w = weights(R, alpha=alpha, confidence=confidence, epsilon=epsilon)
    if objective == "rendle":
        return [(np.where(stored, w, 0.0), phi), (missing_weights(R.shape, c0, missing), np.zeros(R.shape))]
    confidences = w if confidence == "raw" else c0 + w
    return [(np.where(stored, confidences, missing_weights(R.shape, c0, missing)), phi)]


def missing_weights(shape, c0, missing=None):
    """c0 v_u w_i of all pairs."""
    v, w = (np.ones(count) for count in shape) if missing is None else missing
    return c0 * np.outer(v, w)


def weights_by_popularity(counts, exponent):
    """n^exponent of rows with n entries (1 of empty ones), over the mean of those that have any."""
    powers = np.maximum(counts, 1.0) ** exponent
    return powers / powers[counts > 0].mean()


def transpose(objective):
    """The same terms with users and items exchanged."""
    return [(W.T, T.T) for W, T in objective]


def regularizations(R, *, regularization, exponent=0.0, c0=1.0, missing=None):
    """lambda_u and lambda_i: regularization (stored + weight of all pairs of the row, were they missing)^exponent."""
    stored = np.asarray(R) != 0
    weights = missing_weights(stored.shape, c0, missing)
    users, items = regularization if isinstance(regularization, tuple) else (regularization, regularization)
    return (
        users * (stored.sum(axis=1) + weights.sum(axis=1)) ** exponent,
        items * (stored.sum(axis=0) + weights.sum(axis=0)) ** exponent,
    )


def loss(objective, P, Q, user_regularization, item_regularization):
    """The brute-force loss, one pair after the other."""
    P, Q = np.asarray(P, np.float64), np.asarray(Q, np.float64)
    total = 0.0
    for W, T in objective:
        for u in range(P.shape[0]):
            for i in range(Q.shape[0]):
                total += W[u, i] * (T[u, i] - P[u] @ Q[i]) ** 2
    total += sum(user_regularization[u] * (P[u] @ P[u]) for u in range(P.shape[0]))
    return total + sum(item_regularization[i] * (Q[i] @ Q[i]) for i in range(Q.shape[0]))


def normal_equations(objective, Y, regularization, u):
    """A_u and b_u of one row against the fixed factors Y."""
    Y = np.asarray(Y, np.float64)
    A = regularization[u] * np.eye(Y.shape[1])
    b = np.zeros(Y.shape[1])
    for W, T in objective:
        A += Y.T @ np.diag(W[u]) @ Y
        b += Y.T @ (W[u] * T[u])
    return A, b


def half_sweep(objective, Y, regularization):
    """Every row's minimiser against the fixed factors Y; rows whose targets are all zero are zero."""
    X = np.zeros((len(regularization), Y.shape[1]))
    for u in range(X.shape[0]):
        A, b = normal_equations(objective, Y, regularization, u)
        if b.any():
            X[u] = np.linalg.solve(A, b)
    return X


def gradient(objective, X, Y, regularization):
    """Half the derivative of the loss by X."""
    X, Y = np.asarray(X, np.float64), np.asarray(Y, np.float64)
    total = np.asarray(regularization)[:, None] * X
    for W, T in objective:
        total -= (W * (T - X @ Y.T)) @ Y
    return total


def residuals(objective, X, Y, regularization, missing):
    """|b - A x| / |b| of every row in the norm of M^-1, M = Y' diag(missing_u) Y + lambda I; zero where b is zero."""
    Y = np.asarray(Y, np.float64)
    got = np.zeros(len(regularization))
    for u in range(len(regularization)):
        A, b = normal_equations(objective, Y, regularization, u)
        r = b - A @ np.asarray(X[u], np.float64)
        M = (Y.T * missing[u]) @ Y + regularization[u] * np.eye(Y.shape[1])
        if b.any():
            got[u] = np.sqrt((r @ np.linalg.solve(M, r)) / (b @ np.linalg.solve(M, b)))
    return got


def energy_errors(objective, X, Y, regularization):
    """|x - x*| / |x*| of every row in the norm of A, whose square is the excess of the loss; zero where x* is zero."""
    got, exact = np.zeros(len(regularization)), half_sweep(objective, Y, regularization)
    for u in range(len(regularization)):
        A, _ = normal_equations(objective, Y, regularization, u)
        error = X[u] - exact[u]
        if exact[u].any():
            got[u] = np.sqrt((error @ A @ error) / (exact[u] @ A @ exact[u]))
    return got
