#!/usr/bin/env python3
"""Correct rounding of whole merges, against a NumPy definition of the methods.

    cargo build --release -p mergecore-cli
    python3 benches/accuracy.py REFERENCE.py [SEED [MERGEKIT-YAML]]

REFERENCE.py defines linear, slerp, passthrough, task_arithmetic, ties, rescale, trim_mask,
combine_deltas and correctly_rounded in float64 NumPy. Needs numpy, torch and safetensors.
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

spec = importlib.util.spec_from_file_location("reference", sys.argv[1])
ref = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ref)
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
mergekit = sys.argv[3] if len(sys.argv) > 3 else None
mergekit = mergekit and pathlib.Path(shutil.which(mergekit) or sys.exit(f"no {mergekit}")).absolute()
root = pathlib.Path(__file__).resolve().parent.parent
torch.manual_seed(seed)
rng = np.random.default_rng(seed)

SHAPES = {"model.embed_tokens.weight": (500, 120), "model.norm.weight": (333,), "lm_head.weight": (500, 120)}
for layer in range(3):
    SHAPES[f"model.layers.{layer}.mlp.up_proj.weight"] = (401, 503)
    SHAPES[f"model.layers.{layer}.conv.weight"] = (7, 11, 13)
    SHAPES[f"model.layers.{layer}.conv2.weight"] = (3, 5, 7, 11)
DTYPES = [torch.bfloat16, torch.float16, torch.float32]


def rescaled_ties(base, models, weights, densities, how, normalize, lam):
    deltas = [ref.rescale(m - base, ref.trim_mask(m - base, d), how, d) for m, d in zip(models, densities)]
    return ref.combine_deltas(base, deltas, weights, "sum", normalize, lam)


W, D = [0.6, 0.8], [0.5, 0.3]
CASES = [
    ("linear", "", lambda x, a, b: ref.linear([a, b], W), False),
    ("linear", "parameters: {normalize: false}\n", lambda x, a, b: ref.linear([a, b], W, False), False),
    ("slerp", "base_model: a\nparameters: {t: 0.35}\n", lambda x, a, b: ref.slerp(a, b, 0.35), False),
    ("slerp", "base_model: b\nparameters: {t: 0.8}\n", lambda x, a, b: ref.slerp(b, a, 0.8), False),
    ("task_arithmetic", "base_model: base\nparameters: {lambda: 0.7}\n", lambda x, a, b: ref.task_arithmetic(x, [a, b], W, False, 0.7), True),
    ("task_arithmetic", "base_model: base\nparameters: {normalize: true}\n", lambda x, a, b: ref.task_arithmetic(x, [a, b], W, True), True),
    ("ties", "base_model: base\n", lambda x, a, b: ref.ties(x, [a, b], W, D), True),
    ("ties", "base_model: base\nparameters: {normalize: false, lambda: 1.3}\n", lambda x, a, b: ref.ties(x, [a, b], W, D, False, 1.3), True),
    ("ties", "base_model: base\nparameters: {rescale: true}\n", lambda x, a, b: rescaled_ties(x, [a, b], W, D, "l1", True, 1.0), True),
    ("ties", "base_model: base\nparameters: {rescale_norm: l2}\n", lambda x, a, b: rescaled_ties(x, [a, b], W, D, "l2", True, 1.0), True),
    ("ties", "base_model: base\nparameters: {rescale_norm: linf}\n", lambda x, a, b: rescaled_ties(x, [a, b], W, D, "linf", True, 1.0), True),
    ("ties", "base_model: base\nparameters: {rescale_norm: density}\n", lambda x, a, b: rescaled_ties(x, [a, b], W, D, "density", True, 1.0), True),
    ("passthrough", "", lambda x, a, b: ref.passthrough(a, 0.37), False),
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
    for method, head, expected, with_base in CASES:
        for short, dtype in (("bf16", "bfloat16"), ("f16", "float16"), ("f32", "float32")):
            both = [f"  - {{model: {m}, parameters: {{weight: {w}, density: {d}}}}}\n" for m, w, d in zip("ab", W, D)]
            if method == "passthrough":
                both = ["  - {model: a, parameters: {scale: 0.37}}\n"]
            recipe = f"merge_method: {method}\n{head}dtype: {dtype}\nmodels:\n{''.join(both)}"
            (work / "r.yml").write_text(recipe)
            shares, elements = [], sum(value.size for value in base.values())
            for command in commands:
                if command[0] == mergekit and "rescale_norm" in head:
                    shares.append(None)  # mergekit 0.1.5 has no such parameter
                    continue
                subprocess.run([*command, "r.yml", "out"], cwd=work, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
                got = load("out")
                right = total = 0
                # mergekit leaves out some whose names it does not expect.
                for name in got if command[0] == mergekit else SHAPES:
                    inputs = ([base[name]] if with_base else []) + [a[name], b[name]]
                    want = expected(base[name], a[name], b[name])
                    right += int(ref.correctly_rounded(short, got[name], want, inputs).sum())
                    total += got[name].size
                shares.append(right / total)
                shutil.rmtree(work / "out")
            worst = min(worst, shares[0])
            cells = [f"{method} {head.split('parameters: ')[-1].strip() if 'parameters' in head else ''}", short, *("-" if share is None else f"{100 * share:.4f}" for share in shares), elements]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    sys.exit(worst < 0.9999)
