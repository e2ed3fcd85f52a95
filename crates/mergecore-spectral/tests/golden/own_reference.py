"""Defines the spectral methods in NumPy float64, and writes their golden files.

    python3 crates/mergecore-spectral/tests/golden/own_reference.py

run at the workspace's root (needs numpy) writes crates/mergecore-spectral/tests/golden/*.json.
A file is a list of cases: `inputs` (base first, each exact in a dtype of its own), `shape`,
`parameters` and the float64 `output`. Every number that matters is a C99 hex float string, so
that nothing is lost. The papers leave open what becomes of singular values of zero, whose
vectors are any that complete a basis: here they stay zero.
"""

import json

import numpy as np

DTYPES = [np.float32, np.float16, np.float32]
rng = np.random.default_rng(20250207)

# ------------------------------------------------------------- the methods


def svd(a):
    """Thin decomposition, and how many singular values differ from zero."""
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    rank = int(np.sum(s > s[0] * max(a.shape) * np.finfo(float).eps))
    return u, s, vt, rank


def polar(a):
    """The singular values replaced by ones, those of zero kept."""
    u, _, vt, rank = svd(a)
    return u[:, :rank] @ vt[:rank]


def mean(base, models, weights, lam):
    return base + lam / len(models) * sum(w * (m - base) for w, m in zip(weights, models))


def iso_c(base, models, weights, lam=1.0):
    """Iso-C (arXiv:2502.04959): sum the changes, replace the singular values by their mean."""
    if base.ndim != 2:
        return mean(base, models, weights, lam)
    total = sum(w * (m - base) for w, m in zip(weights, models))
    if not total.any():
        return base
    return base + lam * svd(total)[1].mean() * polar(total)


def keep_count(fraction, models, values):
    if fraction is None:
        return max(1, values // models)
    return 0 if fraction == 0 else max(1, int(fraction * values))


def tsv(base, models, weights, lam=1.0, rank_fraction=None):
    """TSV-Merge (arXiv:2412.00081): of each change the first singular triplets; their vectors
    side by side made orthogonal (Procrustes), left and right."""
    if base.ndim != 2:
        return mean(base, models, weights, lam)
    keep = keep_count(rank_fraction, len(models), min(base.shape))
    us, ss, vs = [], [], []
    for w, m in zip(weights, models):
        delta = w * (m - base)
        if delta.any():
            u, s, vt, rank = svd(delta)
            k = min(keep, rank)
            us, ss, vs = us + [u[:, :k]], ss + [s[:k]], vs + [vt[:k].T]
    if keep == 0 or not us:
        return base
    u, s, v = polar(np.hstack(us)), np.concatenate(ss), polar(np.hstack(vs))
    return base + lam * (u * s) @ v.T


# ------------------------------------------------------------ golden files


def near(count, shape, spread=0.05):
    """A base and models near it, dtypes mixed."""
    base = rng.normal(size=shape).astype(np.float32).astype(float)
    change = lambda: rng.normal(size=shape) * spread
    return [base] + [(base + change()).astype(DTYPES[k % 3]).astype(float) for k in range(count)]


def low_rank(count, shape, rank):
    """A base and models whose changes have that rank, exactly."""
    base = rng.integers(-100, 101, shape) / 128
    factor = lambda *size: rng.integers(-6, 7, size) / 8
    return [base] + [base + factor(shape[0], rank) @ factor(rank, shape[1]) for _ in range(count)]


def hexes(a):
    return [float(x).hex() for x in np.asarray(a, dtype=np.float64).reshape(-1)]


def case(name, inputs, output, **parameters):
    assert np.isfinite(output).all(), name
    parameters = {
        k: [float(x).hex() for x in v] if isinstance(v, list) else v.hex() if isinstance(v, float) else v
        for k, v in parameters.items()
    }
    return dict(method=name, shape=list(inputs[0].shape), inputs=[hexes(v) for v in inputs],
                parameters=parameters, output=hexes(output))


SHAPES = [(6, 6), (9, 4), (4, 9), (19, 5), (5, 19), (14, 14), (1, 7), (7, 1), (1, 1), (12,), (3, 2, 2), (2, 1, 3, 2)]
WEIGHTS = [[1.0], [1.0, 1.0], [0.5, 1.0, -0.75], [1.0, 0.0], [1.0] * 4]


def inputs():
    for i, shape in enumerate(SHAPES):
        for weights in WEIGHTS:
            yield near(len(weights), shape), weights, [1.0, 1.3, -0.5][i % 3]
    for rank in (1, 2, 3):
        for shape in ((8, 8), (11, 6), (6, 11)):
            yield low_rank(2, shape, rank), [1.0, 0.75], 1.0
    base, model = near(1, (5, 8))
    yield [base, model, model], [1.0, 1.0], 1.0
    yield [base, model, base], [1.0, 1.0], 1.0
    yield [base, base, base], [1.0, 1.0], 1.0
    yield [base, model, model], [1.0, -1.0], 1.0


def iso_c_cases():
    for given, weights, lam in inputs():
        yield case("iso_c", given, iso_c(given[0], given[1:], weights, lam), weights=weights, lam=lam)


def tsv_cases():
    for i, (given, weights, lam) in enumerate(inputs()):
        fraction = [None, 0.3, None, 1.0][i % 4]
        out = tsv(given[0], given[1:], weights, lam, fraction)
        yield case("tsv", given, out, weights=weights, lam=lam, rank_fraction=fraction)


for name, cases in (("iso_c", iso_c_cases), ("tsv", tsv_cases)):
    path = f"crates/mergecore-spectral/tests/golden/{name}.json"
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases()) + "\n]\n")
    print(path)
