"""Writes the golden files of the method crates, from the reference definition.

    python3 crates/mergecore-kernel/tests/golden/make_golden.py PATH/TO/merge_reference.py

run at the workspace's root (needs numpy) writes crates/*/tests/golden/*.json. A
file is a list of cases: `inputs` (base first, each exact in a dtype of its own),
`shape`, `parameters`, the reference's float64 `output`, and for each output dtype
`[lo, hi]`, the bounds within which an element is correctly rounded (`hi` is null
where both are the same). Every number that matters is a C99 hex float string, so
that nothing is lost.
"""

import importlib.util
import json
import sys

import numpy as np



def module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


ref = module("merge_reference", sys.argv[1])
# Of methods that it does not have.
own = module("own_reference", "crates/mergecore-ties/tests/golden/own_reference.py")

DTYPES = ["bf16", "f16", "f32"]
SHAPES = [(37,), (5, 7), (2, 3, 5), (2, 2, 3, 3), (1,), (8, 1)]
rng = np.random.default_rng(20240607)


def stored(values, k):
    """Values as input k's dtype holds them."""
    return ref.round_to(DTYPES[k % 3], values).astype(np.float64)


def values(k, shape, scale=1.0):
    return stored(rng.normal(size=shape) * scale, k)


def models(count, shape):
    """Independent values of several binades, with a few special ones."""
    out = [values(k, shape) * 1.0 for k in range(count)]
    special = [-0.0, 0.0, 6e-8, -3e-5, 5e4, -1e-39]
    for k, m in enumerate(out):
        flat = m.reshape(-1)
        for j, s in enumerate(special[: flat.size // 4]):
            flat[(5 * j + k) % flat.size] = s
        out[k] = stored(m, k)
    return out


def near(count, shape):
    """A base and models near it; on a coarse grid, so that many changes have
    the same magnitude."""
    base = rng.integers(-100, 101, shape) / 128
    return [base] + [base + rng.integers(-6, 7, shape) / 128 for _ in range(count)]


def spread(count, shape):
    """A base and models near it, no two changes alike, dtypes mixed."""
    base = values(0, shape)
    return [base] + [stored(base + rng.normal(size=shape) * 0.05, k + 1) for k in range(count)]


def hexes(a):
    return [float(x).hex() for x in np.asarray(a, dtype=np.float64).reshape(-1)]


def case(name, inputs, output, **parameters):
    d = 1e-12 * sum(np.abs(v) for v in inputs)
    bounds = {}
    with np.errstate(over="ignore"):
        for dtype in DTYPES:
            lo, hi = (hexes(ref.round_to(dtype, output + s * d)) for s in (-1, 1))
            bounds[dtype] = [lo, None if lo == hi else hi]
    assert np.isfinite(output).all(), name
    parameters = {
        k: [float(x).hex() for x in v] if isinstance(v, list) else v.hex() if isinstance(v, float) else v
        for k, v in parameters.items()
    }
    return dict(method=name, shape=list(inputs[0].shape), inputs=[hexes(v) for v in inputs],
                parameters=parameters, output=hexes(output), **bounds)


def linear_cases():
    for shape, weights in zip(SHAPES, ([1.0], [0.3, 0.7], [2.0, -0.5, 0.25], [0.1, 0.2, 0.3, 0.4, 0.5],
                                       [1.0, 3.0], [1.0, 0.0, -0.75])):
        ms = models(len(weights), shape)
        for normalize in (True, False):
            yield case("linear", ms, ref.linear(ms, weights, normalize), weights=weights, normalize=normalize)
    for scale in (None, 0.5, -1.3, 1 / 3):
        [m] = models(1, (3, 9))
        yield case("passthrough", [m], ref.passthrough(m, scale), scale=scale)


def slerp_cases():
    for shape in SHAPES[:4]:
        a, b = models(2, shape)
        a, b = (np.where(np.abs(v) > 100, 1.5, v) for v in (a, b))
        for t in (0.0, 0.3, 0.5, 1.0, 1.7, -0.25):
            yield case("slerp", [a, b], ref.slerp(a, b, t), t=t)
    a, b = values(0, (24,)), values(1, (24,))
    for name, v0, v1 in (
        ("nearly parallel, spherical", a, stored(a + 0.06 * b, 1)),
        ("nearly parallel, linear", a, stored(a + 0.01 * b, 1)),
        ("antiparallel", a, -a),
        ("opposite half", a, stored(-a + 0.5 * b, 2)),
        ("first zero", 0 * a, b),
        ("second zero", a, 0 * b),
        ("no direction", stored(1e-11 * a, 2), stored(1e-11 * b, 2)),
        ("lengths differ", a, stored(100 * b, 1)),
    ):
        for t in (0.25, 0.8):
            yield case("slerp", [v0, v1], ref.slerp(v0, v1, t), note=name, t=t)
    # Just below the cosine of 0.9995, beyond which interpolation is linear.
    v1 = stored(a + 0.04 * b, 2)
    assert 0.999 < a @ v1 / np.sqrt((a @ a) * (v1 @ v1)) < 0.9995
    for t in (0.25, 0.8):
        yield case("slerp", [a, v1], ref.slerp(a, v1, t), note="just spherical", t=t)


def seed(number):
    """Makes what follows independent of the cases before."""
    global rng
    rng = np.random.default_rng(number)


def tame(count, shape):
    """As models, without the values beside which all others vanish."""
    return [np.where(np.abs(m) > 100, 1.5, m) for m in models(count, shape)]


VECTORS = (dict(flatten=True, row_wise=False), dict(flatten=False, row_wise=False),
           dict(flatten=False, row_wise=True))


def nuslerp_case(base, ms, weights, note=None, **vectors):
    inputs = ms if base is None else [base, *ms]
    return case("nuslerp", inputs, ref.nuslerp(ms, weights, base, **vectors), note=note,
                based=base is not None, weights=weights, **vectors)


def nuslerp_cases():
    seed(1)
    for shape, weights in zip(SHAPES, ([0.5, 0.5], [1.0, 3.0], [2.0, -0.5], [0.0, 0.7], [0.1, 0.2], [-0.3, 0.5])):
        for vectors in VECTORS:
            base, *ms = spread(2, shape)
            yield nuslerp_case(None, tame(2, shape), weights, **vectors)
            yield nuslerp_case(base, ms, weights, **vectors)
    a, b = values(0, (2, 12)), values(1, (2, 12))
    ones = np.full((4, 4), 0.5)  # the norms, 2 and 1, are exact, and so the cosines
    for name, v0, v1 in (
        ("nearly parallel", a, stored(a + 0.01 * b, 1)),
        ("parallel", ones, 3 * ones),
        ("antiparallel", ones, -ones),
        ("antiparallel, lengths differ", ones, -2 * ones),
        ("opposite half", a, stored(-a + 0.5 * b, 2)),
        ("first zero", 0 * a, b),
        ("second zero", a, 0 * b),
        ("one too short", stored(1e-10 * a, 2), b),
        ("both too short", stored(1e-10 * a, 2), stored(1e-11 * b, 2)),
        ("lengths differ", a, stored(100 * b, 1)),
    ):
        for weights in ([3.0, 1.0], [1.0, -1.0]):  # the latter sum to zero
            for vectors in VECTORS:
                yield nuslerp_case(None, [v0, v1], weights, note=name, **vectors)
    base = values(0, (2, 12))
    for vectors in VECTORS:
        yield nuslerp_case(base, [base, base + 0.25], [0.6, 0.4], note="first unchanged", **vectors)
        yield nuslerp_case(base, [base, base], [0.6, 0.4], note="both unchanged", **vectors)


def multislerp_case(base, ms, weights, note=None, normalize_weights=True, eps=1e-8):
    inputs = ms if base is None else [base, *ms]
    out = ref.multislerp(ms, weights, base, normalize_weights, eps)
    return case("multislerp", inputs, out, note=note, based=base is not None, weights=weights,
                normalize_weights=normalize_weights, eps=eps)


def multislerp_cases():
    seed(2)
    sets = ([0.3], [0.5, 0.5], [1.0, 3.0, 2.0], [0.6, 0.9, -0.2, 0.3], [0.2, 0.0, 0.7, 0.1, 1.5], [0.5] * 12)
    for shape, weights in zip(SHAPES, sets):
        for normalize in (True, False):
            base, *ms = spread(len(weights), shape)
            for eps in (1e-8, 0.01):
                p = dict(normalize_weights=normalize, eps=eps)
                yield multislerp_case(None, tame(len(weights), shape), weights, **p)
                yield multislerp_case(base, ms, weights, **p)
    a, b, c = values(0, (24,)), values(1, (24,)), values(2, (24,))
    base = values(0, (24,))
    for name, ms, weights in (
        ("opposite", [a, -a], [0.5, 0.5]),
        ("opposite, lengths differ", [a, -2 * a], [1.0, 1.0]),
        ("opposite, weights differ", [a, -a], [0.7, 0.3]),
        ("all zero", [0 * a, 0 * a], [0.7, 0.3]),
        ("one zero", [a, 0 * a, b], [0.7, 0.3, 0.5]),
        ("one too short", [a, stored(1e-10 * b, 2), c], [0.7, 0.3, 0.5]),
        ("nearly cancel", [a, stored(-a + 0.001 * b, 2), stored(0.01 * c, 1)], [1.0, 1.0, 1e-3]),
        ("nearly equal", [a, stored(a + 0.001 * b, 2), stored(a + 0.001 * c, 2)], [1.0, 1.0, -1.5]),
        ("lengths differ", [a, stored(100 * b, 1), stored(0.01 * c, 1)], [1.0, 1.0, 1.0]),
    ):
        yield multislerp_case(None, ms, weights, note=name)
        yield multislerp_case(base, [stored(base + m, 2) for m in ms], weights, note=name)
    for ms in ([a, stored(a + 0.001 * b, 2), a], [stored(b, 1), stored(b + 0.0001 * c, 2), b]):
        yield multislerp_case(None, ms, [1.0, -1.5, 0.5], note="weights cancel", normalize_weights=False)


def karcher_case(ms, max_iter=10, tol=1e-5, note=None):
    out = ref.karcher(ms, max_iter, tol)
    return case("karcher", ms, out, note=note, max_iter=float(max_iter), tol=tol)


def karcher_cases():
    seed(3)
    for shape, count in zip(SHAPES, (2, 3, 4, 12, 1, 5)):
        for max_iter, tol in ((10, 1e-5), (0, 1e-5), (1, 1e-5), (3, 1e-9), (10, 0.3)):
            yield karcher_case(tame(count, shape), max_iter, tol)
        yield karcher_case(spread(count - 1, shape))
    a, b, c = values(0, (24,)), values(1, (24,)), values(2, (24,))
    ones, other = np.full(4, 0.5), np.array([0.5, -0.5, 0.5, -0.5])  # the norms are exact
    for name, ms in (
        ("opposite", [ones, -ones]),
        ("opposite, lengths differ", [ones, -3 * ones]),
        ("two opposite pairs", [ones, other, -ones, -other]),
        ("opposite and another", [ones, -ones, other]),
        ("nearly opposite", [a, stored(-a + 0.02 * b, 2)]),
        ("wide apart", [a, b, stored(-0.5 * a - 0.5 * b + 0.2 * c, 2)]),
        ("all zero", [0 * a, 0 * a]),
        ("one zero", [a, 0 * a, b]),
        ("one too short", [stored(1e-8 * c, 2), a, b]),
        ("all too short", [stored(1e-8 * c, 2), stored(1e-8 * b, 2)]),
        ("lengths differ", [a, stored(100 * b, 1), stored(0.01 * c, 1)]),
        ("nearly equal", [a, stored(a + 1e-4 * b, 2), stored(a + 1e-4 * c, 2)]),
        ("very nearly opposite", [a, stored(-a + 2e-4 * b, 2)]),
    ):
        yield karcher_case(ms, note=name)
    side = b - (a @ b) / (a @ a) * a
    side *= np.sqrt(0.75 * (a @ a) / (side @ side))
    thirds = [stored(-0.5 * a + side + 5e-6 * c, 2), stored(-0.5 * a - side + 7e-6 * c, 2)]
    yield karcher_case([a, *thirds], tol=1e-9, note="a third of a turn apart, very nearly")


def ties_with(base, ms, weights, densities, normalize, lam, how):
    """ref.ties, with the rescaling that the recipe's `rescale` asks for."""
    deltas = [ref.rescale(m - base, ref.trim_mask(m - base, d), how, d) for m, d in zip(ms, densities)]
    return ref.combine_deltas(base, deltas, weights, "sum", normalize, lam)


def ties_cases():
    sets = [
        ([1.0], [0.5]),
        ([0.5, 0.5], [0.3, 0.7]),
        ([1.0, 0.4, -0.6], [0.5, 1.0, 0.2]),
        ([0.3, 0.3, 0.3, 0.3, 0.3], [0.01, 0.25, 0.5, 0.75, 1.0]),
        ([1.0, 0.0], [0.0, 0.9]),
        ([1.0, -1.0], [1.0, 1.0]),
    ]
    for i, (weights, densities) in enumerate(sets):
        for make in (near, spread):
            shape = SHAPES[i % 4]
            base, *ms = inputs = make(len(weights), shape)
            for normalize, lam in ((True, 1.0), (False, 0.7)):
                p = dict(weights=weights, normalize=normalize, lam=lam)
                yield case("task_arithmetic", inputs,
                           ref.task_arithmetic(base, ms, weights, normalize, lam), **p)
                out = ref.ties(base, ms, weights, densities, normalize, lam)
                yield case("ties", inputs, out, densities=densities, rescale=None, **p)
    for how in ("l1", "l2", "linf", "density"):
        weights, densities = [0.6, 0.5, 0.3], [0.3, 0.5, 0.8]
        base, *ms = inputs = spread(3, (5, 7))
        out = ties_with(base, ms, weights, densities, True, 1.0, how)
        yield case("ties", inputs, out, weights=weights, densities=densities, normalize=True, lam=1.0, rescale=how)


ELECTIONS = [(consensus, which) for consensus in ("sum", "count") for which in ("weighted", "unweighted")]


def election_cases():
    sets = [
        ([1.0, 1.0], [1.0, 1.0]),
        ([0.3, 0.9], [0.6, 1.0]),
        ([1.0, 1.0, 1.0], [0.5, 1.0, 0.7]),
        ([0.9, 0.2, 0.2], [1.0, 1.0, 1.0]),
        ([0.8, -0.6, 0.3], [0.9, 0.4, 1.0]),
        ([0.25, 0.25, 0.25, 0.25], [1.0, 1.0, 0.8, 1.0]),
        ([0.7, 0.4, 0.3, -0.2, 0.9], [1.0, 0.6, 1.0, 0.9, 0.5]),
    ]
    for i, (weights, densities) in enumerate(sets):
        for make in (near, spread):
            base, *ms = inputs = make(len(weights), SHAPES[i % 4])
            deltas = [(m - base) * ref.trim_mask(m - base, d) for m, d in zip(ms, densities)]
            normalize, lam = ((True, 1.0), (False, 0.7))[i % 2]
            for consensus, which in ELECTIONS:
                out = elected(base, deltas, weights, consensus, which, normalize, lam)
                yield case("ties", inputs, out, weights=weights, densities=densities, normalize=normalize,
                           lam=lam, consensus=consensus, elect=which)


def breadcrumbs_cases():
    sets = [
        ([1.0], [0.5], [0.1]),
        ([0.5, 0.5], [0.3, 0.7], [0.01, 0.2]),
        ([1.0, 0.4, -0.6], [0.5, 1.0, 0.2], [0.0, 0.3, 0.1]),
        ([0.3, 0.3, 0.3, 0.3, 0.3], [0.02, 0.25, 0.5, 0.75, 1.0], [0.05, 0.8, 0.5, 0.9, 1.0]),
        ([1.0, 0.7], [0.0, 0.9], [0.5, 0.5]),
        ([1.0, -1.0], [0.6, 0.6], [0.2, 0.1]),
    ]
    for i, (weights, densities, gammas) in enumerate(sets):
        for make in (near, spread):
            base, *ms = inputs = make(len(weights), SHAPES[i])
            p = dict(weights=weights, densities=densities, gammas=gammas)
            for normalize, lam in ((True, 1.0), (False, 0.7)):
                for name, consensus in (("breadcrumbs", None), ("breadcrumbs_ties", "sum")):
                    out = ref.breadcrumbs(base, ms, weights, densities, gammas, consensus, normalize, lam)
                    yield case(name, inputs, out, normalize=normalize, lam=lam, rescale=None, **p)
    weights, densities, gammas = [0.6, 0.5, 0.3], [0.3, 0.5, 0.8], [0.1, 0.0, 0.05]
    for how in ("l1", "l2", "linf", "density"):
        base, *ms = inputs = spread(3, (5, 7))
        deltas = [ref.rescale(m - base, ref.breadcrumbs_mask(m - base, d, g), how, d)
                  for m, d, g in zip(ms, densities, gammas)]
        for name, consensus in (("breadcrumbs", None), ("breadcrumbs_ties", "sum")):
            out = ref.combine_deltas(base, deltas, weights, consensus, False, 1.0)
            yield case(name, inputs, out, weights=weights, densities=densities, gammas=gammas,
                       normalize=False, lam=1.0, rescale=how)


def sce_cases():
    for count in (1, 2, 3, 5, 12):
        for i, make in enumerate((near, spread)):
            base, *ms = inputs = make(count, SHAPES[(count + i) % 5])
            for topk in (1.0, 0.9, 0.5, 0.1, 0.0):
                yield case("sce", inputs, ref.sce(base, ms, topk), select_topk=topk)
    base, *ms = inputs = near(3, (5, 7))
    ms[0] = stored(base + 1e-5 * (ms[0] - base), 2)  # one weight below the least divisor
    yield case("sce", [base, *ms], ref.sce(base, ms), select_topk=1.0, note="a small weight")
    ms = [stored(base + 1e-3 * (m - base), 2) for m in ms]
    yield case("sce", [base, *ms], ref.sce(base, ms, 0.7), select_topk=0.7, note="equal weights")


def ram_cases():
    for count in (1, 2, 3, 5, 12):
        for i, make in enumerate((near, spread)):
            base, *ms = inputs = make(count, SHAPES[(count + i) % 6])
            for epsilon, r, alpha in ((1e-5, 0.1, 0.2), (0.02, -0.7, 3.0), (0.03125, 0.4, 1.0)):
                yield case("ram", inputs, ref.ram(base, ms, epsilon), epsilon=epsilon)
                out = ref.ramplus_tl(base, ms, r, alpha, epsilon)
                yield case("ramplus_tl", inputs, out, epsilon=epsilon, r=r, alpha=alpha)


def own_cases():
    sets = [[1.0], [1.0, 1.0], [0.5, 0.5], [0.3, 0.9, -0.4], [1.0] * 5, [0.2] * 5, [0.3, 0.6, 1.1, 0.1]]
    for i, weights in enumerate(sets):
        for make in (near, spread):
            base, *ms = inputs = make(len(weights), SHAPES[i % 6])
            for lam in (1.0, -0.3)[: 1 + i % 2]:
                yield case("magmax", inputs, own.magmax(base, ms, lam), lam=lam)
            for tall, k, normalize, lam in ((0.4, 2, False, 1.0), (0.4, 2, True, 1.0), (0.2, 1, False, 0.4),
                                            (0.6, 3, True, 1.0), (1.0, 2, False, -1.0), (0.0, 0, False, 1.0)):
                out = own.consensus_ta(base, ms, weights, tall, k, normalize, lam)
                yield case("consensus_ta", inputs, out, weights=weights, tall_lambda=tall, min_models=float(k),
                           normalize=normalize, lam=lam)


def ties_model_cases():
    """Tensors laid end to end."""
    sets = [([1.0], [0.4]), ([0.5, 0.5], [0.3, 0.7]), ([1.0, 0.4, -0.6], [0.5, 1.0, 0.02]), ([0.7, 0.3], [0.0, 0.2])]
    for i, (weights, densities) in enumerate(sets):
        for make in (near, spread):
            shapes = [SHAPES[(i + j) % 6] for j in range(4)]
            tensors = [(base, ms) for base, *ms in (make(len(weights), shape) for shape in shapes)]
            for normalize, lam in ((True, 1.0), (False, 0.7)):
                out = own.ties_model(tensors, weights, densities, normalize, lam)
                flat = lambda parts: np.concatenate([part.reshape(-1) for part in parts])
                inputs = [flat([base for base, _ in tensors])]
                inputs += [flat([ms[k] for _, ms in tensors]) for k in range(len(weights))]
                yield case("ties", inputs, flat(out), weights=weights, densities=densities, normalize=normalize,
                           lam=lam, lengths=[float(base.size) for base, _ in tensors])


def words(seed, stream, count):
    """ChaCha8's words for the key that is the seed's eight bytes and zeros."""
    blocks = -(-count // 16)
    counter = np.arange(blocks, dtype=np.uint64)
    low, high = counter & np.uint64(0xFFFFFFFF), counter >> np.uint64(32)
    fixed = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, seed & 0xFFFFFFFF, seed >> 32] + [0] * 6
    state = [np.full(blocks, v, dtype=np.uint32) for v in fixed]
    state += [low.astype(np.uint32), high.astype(np.uint32)]
    state += [np.full(blocks, v, dtype=np.uint32) for v in (stream & 0xFFFFFFFF, stream >> 32)]
    x = [v.copy() for v in state]

    def quarter(a, b, c, d):
        for i, j, k, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[i] = x[i] + x[j]
            x[k] = x[k] ^ x[i]
            x[k] = (x[k] << np.uint32(bits)) | (x[k] >> np.uint32(32 - bits))

    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return np.stack([v + w for v, w in zip(x, state)], axis=1).reshape(-1)[:count]


def mask(seed, model, probabilities):
    """1 where an element's word lies below its probability, to the nearest 2^-32."""
    below = words(seed, model, probabilities.size).astype(np.float64)
    thresholds = np.floor(probabilities * 2.0**32 + 0.5)
    return (below.reshape(probabilities.shape) < thresholds).astype(np.float64)


def elected(base, deltas, weights, consensus, elect, normalize, lam):
    """ref.combine_deltas, with votes that may ignore the weights."""
    if consensus is None or elect == "weighted":
        return ref.combine_deltas(base, deltas, weights, consensus, normalize, lam)
    w = np.array(weights).reshape((-1,) + (1,) * base.ndim)
    deltas = np.stack(deltas)
    used = w * ref.agreement(deltas, consensus)
    mixed, divisor = (deltas * used).sum(0), used.sum(0)
    if normalize:
        mixed = mixed / np.where(divisor == 0, 1.0, divisor)
    return base + lam * mixed


def dare_cases():
    sets = [
        ([1.0], [0.5]),
        ([0.5, 0.5], [0.3, 0.7]),
        ([0.7, 0.3, 0.5], [0.5, 0.9, 1.0]),
        ([1.0, 0.4, -0.6, 0.2], [0.5, 0.5, 0.4, 0.0]),
        ([0.3, 0.2, 0.5, 0.1, -0.4], [0.6, 0.7, 0.5, 0.9, 0.8]),
    ]
    for i, (weights, densities) in enumerate(sets):
        for j, (normalize, lam, how) in enumerate(((False, 1.0, "density"), (True, 0.7, None))):
            base, *ms = inputs = (near, spread)[(i + j) % 2](len(weights), SHAPES[i % 4])
            seed = 2**33 + 10 * i + j
            for consensus, elect in [(None, None)] + ELECTIONS:
                deltas = [ref.rescale(m - base, mask(seed, k, np.full(base.shape, d)), how, d or 1.0)
                          for k, (m, d) in enumerate(zip(ms, densities))]
                out = elected(base, deltas, weights, consensus, elect, normalize, lam)
                if elect == "weighted":
                    masks = [mask(seed, k, np.full(base.shape, d)) for k, d in enumerate(densities)]
                    same = ref.dare(base, ms, weights, [d or 1.0 for d in densities], masks,
                                    consensus, normalize, lam, how)
                    assert np.array_equal(out, same)
                yield case("dare_ties" if consensus else "dare_linear", inputs, out, weights=weights,
                           densities=densities, normalize=normalize, lam=lam, rescale=how, seed=seed,
                           consensus=consensus, elect=elect)


def della_cases():
    sets = [
        ([1.0], [0.5], [0.15]),
        ([0.5, 0.5], [0.3, 0.7], [0.25, 0.1]),
        ([0.7, 0.3, 0.5], [0.5, 0.8, 1.0], [0.4, 0.15, 0.15]),
        ([1.0, 0.4, -0.6, 0.2], [0.5, 0.6, 0.4, 0.0], [0.0, 0.15, 0.3, 0.15]),
        ([0.3, -0.2], [0.6, 0.7], [0.3, 0.15]),
        ([0.3, 0.8], [0.6, 0.7], [0.3, 0.15]),
    ]
    for i, (weights, densities, epsilons) in enumerate(sets):
        for j, (make, how) in enumerate(((spread, "l1"), (near, None), (spread, "l2"), (spread, "density"))):
            base, *ms = inputs = make(len(weights), SHAPES[i])
            seed = 1000 + 10 * i + j
            masks = [mask(seed, k, ref.della_probabilities(m - base, d, e))
                     for k, (m, d, e) in enumerate(zip(ms, densities, epsilons))]
            safe = [d or 1.0 for d in densities]
            shared = dict(weights=weights, densities=densities, epsilons=epsilons, rescale=how, seed=seed)
            linear = ref.della(base, ms, weights, safe, masks, None, j % 2 == 1, 1.0, how)
            yield case("della_linear", inputs, linear, normalize=j % 2 == 1, lam=1.0, consensus=None,
                       elect=None, **shared)
            for consensus, elect in ELECTIONS if j < 2 else ELECTIONS[:1]:
                deltas = [ref.rescale(m - base, k, how, d) for m, k, d in zip(ms, masks, safe)]
                out = elected(base, deltas, weights, consensus, elect, j % 2 == 0, 0.8)
                yield case("della", inputs, out, normalize=j % 2 == 0, lam=0.8, consensus=consensus,
                           elect=elect, **shared)


def adaptive_cases():
    for i, (count, make) in enumerate(((2, near), (3, spread), (2, spread), (5, near), (2, models), (12, spread))):
        inputs = make(count + (make is models), SHAPES[i])
        base, *ms = inputs
        for filter_wise in (False, True):
            yield case("model_stock", inputs, ref.model_stock(base, ms, filter_wise), filter_wise=filter_wise)
    base = values(0, (4, 6))
    d = stored(rng.normal(size=base.shape) * 0.25, 1)
    for name, inputs in (
        ("models equal to the base", [base, base, base]),
        ("equal models", [base, d, d, d]),
        ("changes that cancel", [0 * base, d, -d]),
        ("one change", [base, base, d]),
        ("hardly any change", [base, base + 1e-5 * d, base - 2e-5 * d[::-1]]),
        ("opposed changes", [0 * base, d, stored(-0.3 * d + 0.2 * base, 0)]),
    ):
        for filter_wise in (False, True):
            out = ref.model_stock(inputs[0], inputs[1:], filter_wise)
            yield case("model_stock", inputs, out, note=name, filter_wise=filter_wise)

    for i, t in enumerate((0.0, 1e-7, 1e-4, 0.01, 0.3, 1e300)):
        for make in (near, spread, lambda count, shape: models(count + 1, shape)):
            base, other = inputs = make(1, SHAPES[i])
            yield case("nearswap", inputs, ref.nearswap(base, other, t), t=t)

    def fusion(inputs, note=None):
        base, other = inputs
        out = ref.arcee_fusion(base, other)
        # What rounding errors in the divergence decide is no definition.
        precise = ref.arcee_fusion(base.astype(np.longdouble), other.astype(np.longdouble))
        assert ((out == base) == (precise == base)).all(), note
        return case("arcee_fusion", inputs, out, note=note)

    for shape in SHAPES + [(64, 33), (3, 7, 20), (2, 2, 9, 11), (2,), (3,), (4,), (2, 2), (1, 300)]:
        yield fusion(spread(1, shape))
        yield fusion([values(0, shape), values(1, shape)])
        yield fusion([v * 8 for v in near(1, shape)])
    base, other = spread(1, (6, 50))
    yield fusion([base, base], "equal models")
    yield fusion([base, np.where(np.arange(6)[:, None] == 2, other, base)], "one row changed")
    yield fusion([base, stored(base + 1e-4 * rng.normal(size=base.shape), 2)], "hardly any change")
    yield fusion([0 * base, 0 * base + 0.5], "changes that leave the softmax as it is")
    yield fusion([base, stored(3e4 * other, 2)], "one element takes all of a row")


def write(crate, name, cases):
    path = f"crates/mergecore-{crate}/tests/golden/{name}.json"
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases()) + "\n]\n")
    print(path)


for crate, cases in (("linear", linear_cases), ("slerp", slerp_cases), ("ties", ties_cases)):
    write(crate, crate, cases)
for crate, name, cases in (
    ("slerp", "nuslerp", nuslerp_cases),
    ("slerp", "multislerp", multislerp_cases),
    ("slerp", "karcher", karcher_cases),
    ("ties", "election", election_cases),
    ("ties", "breadcrumbs", breadcrumbs_cases),
    ("ties", "sce", sce_cases),
    ("ties", "ram", ram_cases),
    ("ties", "own", own_cases),
    ("ties", "ties_model", ties_model_cases),
    ("dare", "dare", dare_cases),
    ("dare", "della", della_cases),
    ("adaptive", "adaptive", adaptive_cases),
):
    rng = np.random.default_rng(list(name.encode()))  # a file does not depend on those before it
    write(crate, name, cases)
