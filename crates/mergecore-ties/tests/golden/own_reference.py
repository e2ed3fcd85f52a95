"""Executable definitions of `magmax`, `consensus_ta` and `ties` with `scope: model`, in NumPy float64.

Written from the papers, for the golden files: whole tensors in memory, float64 throughout, one
short function per method. `base` and `models[i]` are float64 arrays of one shape, `weights[i]`
one Python float per model; delta_i = models[i] - base.
"""

import numpy as np


def magmax(base, models, lam=1.0):
    """MagMax (arXiv:2407.06322): each element takes the change of largest magnitude; of
    equal magnitudes, the first model's."""
    deltas = np.stack([m - base for m in models])
    largest = np.abs(deltas).argmax(axis=0)  # the first of several
    return base + lam * np.take_along_axis(deltas, largest[None], axis=0)[0]


def task_sum(deltas, weights, normalize):
    """The multi-task vector of task arithmetic: the sum of the weighted changes, divided by
    the sum of the weights if normalised, unless that is about zero."""
    total = sum(weights) if normalize else 1.0
    if abs(total) < 1e-8:
        total = 1.0
    return sum(w * d for w, d in zip(weights, deltas)) / total


def tall_masks(deltas, tau, tall_lambda):
    """TALL masks: a model's is on where its own change is not small beside what the
    multi-task vector would add to it."""
    return [np.abs(d) >= tall_lambda * np.abs(tau - d) for d in deltas]


def consensus_ta(base, models, weights, tall_lambda=0.4, min_models=2, normalize=False, lam=1.0):
    """Consensus merging of task arithmetic (arXiv:2405.07813): the multi-task vector is kept
    where at least min_models masks (the paper's k) are on, or all of fewer models', and is zero
    elsewhere. lam scales what is kept, after the masks are made."""
    deltas = [m - base for m in models]
    tau = task_sum(deltas, weights, normalize)
    on = sum(mask.astype(int) for mask in tall_masks(deltas, tau, tall_lambda))
    return base + lam * np.where(on >= min(min_models, len(models)), tau, 0.0)


def largest_of_all(deltas, density):
    """Masks, one a tensor, of the floor(density * n) largest magnitudes (at least one for a
    positive density) among the n elements of all tensors; of equal ones the first tensors', and
    in a tensor the lowest index."""
    flat = np.concatenate([np.abs(d).reshape(-1) for d in deltas])
    keep = int(density * flat.size)
    if density > 0:
        keep = max(keep, 1)
    mask = np.zeros(flat.size, dtype=bool)
    mask[np.argsort(-flat, kind="stable")[:keep]] = True
    ends = np.cumsum([d.size for d in deltas])[:-1]
    return [part.reshape(d.shape) for part, d in zip(np.split(mask, ends), deltas)]


def ties_model(tensors, weights, densities, normalize=True, lam=1.0):
    """TIES (arXiv:2306.01708) as its authors' own code trims: a threshold for all of a model's
    task vector. `tensors` is a list of (base, models); a list of outputs."""
    deltas = [[models[i] - base for base, models in tensors] for i in range(len(weights))]
    masks = [largest_of_all(of_model, density) for of_model, density in zip(deltas, densities)]
    out = []
    for t, (base, _) in enumerate(tensors):
        weighted = [w * deltas[i][t] * masks[i][t] for i, w in enumerate(weights)]
        plus = sum(weighted) >= 0
        agree = [np.where(plus, x > 0, x < 0) for x in weighted]
        total = sum(x * a for x, a in zip(weighted, agree))
        divisor = sum(w * a for w, a in zip(weights, agree)) if normalize else np.ones_like(base)
        out.append(base + lam * (total / np.where(divisor == 0, 1.0, divisor)))
    return out
