#!/usr/bin/env python3
"""Correct rounding of whole merges, against a NumPy definition of the methods.

    cargo build --release -p mergecore-cli
    python3 benches/accuracy.py REFERENCE.py [SEED [MERGEKIT-YAML]]

REFERENCE.py defines the deterministic methods and correctly_rounded in float64 NumPy; what it
lacks (magmax, consensus_ta), tests/golden/own_reference.py of mergecore-ties does. Needs numpy,
torch and safetensors. The methods with a decomposition are left to their crate's tests: no two
libraries agree on a singular vector's last bits.
Random checkpoints, each tensor bf16, f16 or f32 at random, are merged to bf16, f16 and f32;
printed is the share of correctly rounded elements, and that of mergekit where its command is
given (over the tensors that it writes), which runs with the output's dtype as that of its
arithmetic. Exit status 1 below 99.99 %.
"""
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file

def load_module(path):
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


root = pathlib.Path(__file__).resolve().parent.parent
ref = load_module(sys.argv[1])
own = load_module(root / "crates/mergecore-ties/tests/golden/own_reference.py")
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
mergekit = sys.argv[3] if len(sys.argv) > 3 else None
mergekit = mergekit and pathlib.Path(shutil.which(mergekit) or sys.exit(f"no {mergekit}")).absolute()
torch.manual_seed(seed)
rng = np.random.default_rng(seed)

SHAPES = {"model.embed_tokens.weight": (500, 120), "model.norm.weight": (333,), "lm_head.weight": (500, 120)}
for layer in range(3):
    SHAPES[f"model.layers.{layer}.mlp.up_proj.weight"] = (401, 503)
    SHAPES[f"model.layers.{layer}.conv.weight"] = (7, 11, 13)
    SHAPES[f"model.layers.{layer}.conv2.weight"] = (3, 5, 7, 11)
DTYPES = [torch.bfloat16, torch.float16, torch.float32]


W, D = [0.6, 0.8], [0.5, 0.3]
BASE = "base_model: base\n"


def pruned(mask, how=None, normalize=False, lam=1.0, consensus=None, elect="weighted"):
    """A merge of task vectors of which `mask(delta, density)` is kept."""

    def merge(x, a, b):
        deltas = [ref.rescale(m - x, mask(m - x, d), how, d) for m, d in zip((a, b), D)]
        if elect == "weighted":
            return ref.combine_deltas(x, deltas, W, consensus, normalize, lam)
        w = np.array(W).reshape((-1,) + (1,) * x.ndim)
        used = w * ref.agreement(np.stack(deltas), consensus)
        divisor = used.sum(0)
        mixed = (used * np.stack(deltas)).sum(0)
        return x + lam * (mixed / np.where(divisor == 0, 1, divisor) if normalize else mixed)

    return merge


def crumbs(gamma):
    return lambda delta, density: ref.breadcrumbs_mask(delta, density, gamma)


def mergekit_has(method, head):
    """Whether mergekit 0.1.5 has the method, and the parameters."""
    return method not in ("magmax", "consensus_ta") and not any(name in head for name in ("rescale_norm", "consensus", "elect"))


# Method, recipe besides models and dtype, what it yields of base, a and b, the models.
AB, BASED = ("a", "b"), ("base", "a", "b")
CASES = [
    ("linear", "", lambda x, a, b: ref.linear([a, b], W), AB),
    ("linear", "parameters: {normalize: false}\n", lambda x, a, b: ref.linear([a, b], W, False), AB),
    ("slerp", "base_model: a\nparameters: {t: 0.35}\n", lambda x, a, b: ref.slerp(a, b, 0.35), AB),
    ("slerp", "base_model: b\nparameters: {t: 0.8}\n", lambda x, a, b: ref.slerp(b, a, 0.8), AB),
    ("nuslerp", "", lambda x, a, b: ref.nuslerp([a, b], W), AB),
    ("nuslerp", BASE, lambda x, a, b: ref.nuslerp([a, b], W, x), BASED),
    ("nuslerp", "parameters: {nuslerp_flatten: false}\n", lambda x, a, b: ref.nuslerp([a, b], W, None, False, False), AB),
    ("nuslerp", BASE + "parameters: {nuslerp_flatten: false}\n", lambda x, a, b: ref.nuslerp([a, b], W, x, False, False), BASED),
    ("nuslerp", "parameters: {nuslerp_flatten: false, nuslerp_row_wise: true}\n", lambda x, a, b: ref.nuslerp([a, b], W, None, True, False), AB),
    ("multislerp", "", lambda x, a, b: ref.multislerp([a, b], W), AB),
    ("multislerp", BASE + "parameters: {normalize_weights: false}\n", lambda x, a, b: ref.multislerp([a, b], W, x, False), BASED),
    ("karcher", "", lambda x, a, b: ref.karcher([a, b]), AB),
    ("task_arithmetic", BASE + "parameters: {lambda: 0.7}\n", lambda x, a, b: ref.task_arithmetic(x, [a, b], W, False, 0.7), BASED),
    ("task_arithmetic", BASE + "parameters: {normalize: true}\n", lambda x, a, b: ref.task_arithmetic(x, [a, b], W, True), BASED),
    ("ties", BASE, lambda x, a, b: ref.ties(x, [a, b], W, D), BASED),
    ("ties", BASE + "parameters: {normalize: false, lambda: 1.3}\n", lambda x, a, b: ref.ties(x, [a, b], W, D, False, 1.3), BASED),
    *(("ties", BASE + f"parameters: {{{text}}}\n", pruned(ref.trim_mask, how, True, consensus="sum"), BASED)
      for text, how in (("rescale: true", "l1"), ("rescale_norm: l2", "l2"), ("rescale_norm: linf", "linf"), ("rescale_norm: density", "density"))),
    ("ties", BASE + "parameters: {consensus: count}\n", pruned(ref.trim_mask, None, True, consensus="count"), BASED),
    ("ties", BASE + "parameters: {elect: unweighted}\n", pruned(ref.trim_mask, None, True, consensus="sum", elect="unweighted"), BASED),
    ("breadcrumbs", BASE, pruned(crumbs(0.01)), BASED),
    ("breadcrumbs_ties", BASE + "parameters: {gamma: 0.05}\n", pruned(crumbs(0.05), consensus="sum"), BASED),
    ("sce", BASE, lambda x, a, b: ref.sce(x, [a, b]), BASED),
    ("sce", BASE + "parameters: {select_topk: 0.3}\n", lambda x, a, b: ref.sce(x, [a, b], 0.3), BASED),
    ("ram", BASE + "parameters: {epsilon: 0.002}\n", lambda x, a, b: ref.ram(x, [a, b], 0.002), BASED),
    ("ramplus_tl", BASE + "parameters: {epsilon: 0.002}\n", lambda x, a, b: ref.ramplus_tl(x, [a, b], epsilon=0.002), BASED),
    ("magmax", BASE + "parameters: {lambda: 0.8}\n", lambda x, a, b: own.magmax(x, [a, b], 0.8), BASED),
    ("consensus_ta", BASE, lambda x, a, b: own.consensus_ta(x, [a, b], W), BASED),
    ("model_stock", BASE, lambda x, a, b: ref.model_stock(x, [a, b]), BASED),
    ("model_stock", BASE + "parameters: {filter_wise: true}\n", lambda x, a, b: ref.model_stock(x, [a, b], True), BASED),
    ("nearswap", "base_model: a\nparameters: {t: 0.001}\n", lambda x, a, b: ref.nearswap(a, b, 0.001), AB),
    ("arcee_fusion", "base_model: a\n", lambda x, a, b: ref.arcee_fusion(a, b), AB),
    ("passthrough", "", lambda x, a, b: ref.passthrough(a, 0.37), ("a",)),
]

with tempfile.TemporaryDirectory() as work:
    work = pathlib.Path(work)
    # A class that mergekit does not know: it goes by the names of the tensors then.
    config = {"model_type": "llama", "architectures": ["RandomForCausalLM"], "num_hidden_layers": 3, "vocab_size": 500}
    centre = {name: torch.randn(shape, dtype=torch.float64) * 0.02 for name, shape in SHAPES.items()}
    for model in ("base", "a", "b"):
        scale = 0.0 if model == "base" else 0.003
        tensors = {}
        for name, value in centre.items():
            moved = value + scale * torch.randn(value.shape, dtype=torch.float64) * (torch.rand(value.shape) > 0.2)
            tensors[name] = moved.to(DTYPES[rng.integers(3)])
        (work / model).mkdir()
        (work / model / "config.json").write_text(json.dumps(config))
        save_file(tensors, work / model / "model.safetensors", metadata={"format": "pt"})
    load = lambda name: {k: v.to(torch.float64).numpy() for k, v in load_file(work / name / "model.safetensors").items()}
    base, a, b = load("base"), load("a"), load("b")
    worst = 1.0
    commands = [[root / "target/release/mergecore", "merge", "--quiet"]]
    heads = ["method", "output", "correctly rounded, %"]
    if mergekit:
        commands.append([mergekit, "--no-write-model-card", "--no-copy-tokenizer", "--quiet"])
        heads.append("mergekit, %")
    heads.append("elements")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for method, head, expected, models in CASES:
        for short, dtype in (("bf16", "bfloat16"), ("f16", "float16"), ("f32", "float32")):
            both = [f"  - {{model: {m}, parameters: {{weight: {w}, density: {d}}}}}\n" for m, w, d in zip("ab", W, D)]
            if method == "passthrough":
                both = ["  - {model: a, parameters: {scale: 0.37}}\n"]
            recipe = f"merge_method: {method}\n{head}dtype: {dtype}\nmodels:\n{''.join(both)}"
            (work / "r.yml").write_text(recipe)
            shares, elements = [], sum(value.size for value in base.values())
            for command in commands:
                if command[0] == mergekit and not mergekit_has(method, head):
                    shares.append(None)
                    continue
                subprocess.run([*command, "r.yml", "out"], cwd=work, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
                got = load("out")
                right = total = 0
                # mergekit leaves out some whose names it does not expect.
                for name in got if command[0] == mergekit else SHAPES:
                    inputs = [{"base": base, "a": a, "b": b}[model][name] for model in models]
                    want = expected(base[name], a[name], b[name])
                    right += int(ref.correctly_rounded(short, got[name], want, inputs).sum())
                    total += got[name].size
                shares.append(right / total)
                shutil.rmtree(work / "out")
            worst = min(worst, shares[0])
            cells = [f"{method} {head.split('parameters: ')[-1].strip() if 'parameters' in head else ''}", short, *("-" if share is None else f"{100 * share:.4f}" for share in shares), elements]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    sys.exit(worst < 0.9999)
