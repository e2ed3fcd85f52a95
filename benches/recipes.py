#!/usr/bin/env python3
"""Whole merges by recipe, value by value, against a NumPy definition of the methods.

    cargo build --release -p mergecore-cli -p mergecore-benches
    HF_HUB_CACHE=HUB python3 benches/recipes.py REFERENCE.py SEED RECIPE.yml...

REFERENCE.py defines slerp, passthrough, linear, ties, dare and correctly_rounded in float64
NumPy. Models are paths or names in the Hugging Face cache HUB. Parameters are resolved here
on their own; an embedding or head that is longer than the first model's (the base's) is cut,
one that is shorter gets the base's rows. The masks of dare_ties are those that the library
exposes for the seed (`dare-masks`). Every output is also loaded with transformers, which must
miss, ignore or reshape nothing, and its tokenizer with it. Needs numpy, torch, transformers,
safetensors and PyYAML. Exit status 1 where fewer than 99.99 % of the elements of a recipe are
correctly rounded, or an output does not load.
"""
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
import yaml
from safetensors.torch import load_file

spec = importlib.util.spec_from_file_location("reference", sys.argv[1])
ref = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ref)
seed, recipes = sys.argv[2], sys.argv[3:]
root = pathlib.Path(__file__).resolve().parent.parent
transformers.logging.set_verbosity_error()
LAYER = re.compile(r"^(model\.layers)\.(\d+)\.(.*)$")
SHORT = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


def directory(model):
    if os.path.isdir(model):
        return pathlib.Path(model)
    folder = pathlib.Path(os.environ["HF_HUB_CACHE"]) / ("models--" + model.replace("/", "--"))
    return folder / "snapshots" / (folder / "refs/main").read_text().strip()


def load(path):
    tensors = {}
    for file in sorted(path.glob("*.safetensors")):
        tensors |= {k: v.to(torch.float64).numpy() for k, v in load_file(file).items()}
    return tensors


def resolve(levels, key, name, position, default=None):
    for level in levels:
        if key not in (level or {}):
            continue
        setting = level[key]
        conditional = isinstance(setting, list) and setting and isinstance(setting[0], dict)
        for entry in setting if conditional else [{"value": setting}]:
            if entry.get("filter", "*") in ("*", name) or entry.get("filter", "*") in name:
                value = entry["value"]
                if not isinstance(value, list):
                    return value
                at = position * (len(value) - 1)
                low = min(int(at), len(value) - 2) if len(value) > 1 else 0
                return value[low] + (value[low + 1] - value[low]) * (at - low) if len(value) > 1 else value[0]
    return default


def plan(config, weights):
    """Yields name, position, levels of parameters and the sources: model, tensor, parameters."""
    first = lambda sources: weights[sources[0]["model"]]
    shared = [config.get("parameters")]
    if "models" in config:
        sources = config["models"]
        count = 1 + max(int(m[2]) for m in map(LAYER.match, first(sources)) if m)
        for name in first(sources):
            layer = LAYER.match(name)
            position = int(layer[2]) / (count - 1) if layer else 0.0
            yield name, position, shared, [(s["model"], name, s.get("parameters")) for s in sources]
        return
    slices, next_layer = config["slices"], 0
    for index, part in enumerate(slices):
        sources, levels = part["sources"], [part.get("parameters")] + shared
        start, end = sources[0]["layer_range"]
        for name in first(sources):
            layer = LAYER.match(name)
            if layer and start <= int(layer[2]) < end:
                i = int(layer[2]) - start
                inputs = [
                    (s["model"], f"{layer[1]}.{s['layer_range'][0] + i}.{layer[3]}", s.get("parameters"))
                    for s in sources
                ]
                position = i / (end - start - 1) if end - start > 1 else 1.0
                yield f"{layer[1]}.{next_layer + i}.{layer[3]}", position, levels, inputs
            elif not layer and index == (0 if "embed" in name else len(slices) - 1):
                yield name, 0.0, levels, [(s["model"], name, s.get("parameters")) for s in sources]
        next_layer += end - start


def fitted(tensor, name, donor):
    """With the donor's rows of vocabulary."""
    if name not in donor or tensor.shape == donor[name].shape or LAYER.match(name):
        return tensor
    rows = len(donor[name])
    return np.concatenate([tensor[:rows], donor[name][len(tensor):rows]])


def masks(requests):
    lines = "".join(f"{name} {size} {' '.join(map(repr, densities))}\n" for name, size, densities in requests)
    command = [root / "target/release/dare-masks", seed]
    data = np.frombuffer(subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout, np.uint8)
    found = {}
    for name, size, densities in requests:
        found[name] = data[: size * len(densities)].reshape(len(densities), size).astype(np.float64)
        data = data[size * len(densities):]
    return found


def check(recipe, out):
    config = yaml.safe_load(open(recipe))
    method, base = config["merge_method"], config.get("base_model")
    names = {s["model"] for s in config.get("models") or [s for part in config["slices"] for s in part["sources"]]}
    weights = {name: load(directory(name)) for name in names | ({base} if base else set())}
    donor = weights[base] if base else weights[(config.get("models") or config["slices"][0]["sources"])[0]["model"]]
    tensors = list(plan(config, weights))
    number = lambda p, key, name, position, levels, default: float(resolve([p] + levels, key, name, position, default))
    drawn = {}
    if method.startswith("dare"):
        drawn = masks([
            (name, fitted(weights[base][name], name, donor).size,
             [number(p, "density", t, pos, levels, 1.0) for m, t, p in inputs if m != base])
            for name, pos, levels, inputs in tensors
        ])
    got, right, total = load(out), 0, 0
    short = SHORT[config.get("out_dtype") or config["dtype"]]
    assert set(got) == {name for name, *_ in tensors}, "other tensors than expected"
    for name, position, levels, inputs in tensors:
        values = [fitted(weights[m][t], t, donor) for m, t, _ in inputs]
        others = [(v, p, t) for v, (m, t, p) in zip(values, inputs) if m != base]
        of = lambda key, default=None: [number(p, key, t, position, levels, default) for _, p, t in others]
        models = [v for v, *_ in others]
        if method == "passthrough":
            scale = resolve([inputs[0][2]] + levels, "scale", inputs[0][1], position)
            want = ref.passthrough(values[0], scale)
        elif method == "linear":
            p = [number(p, "weight", t, position, levels, None) for _, t, p in inputs]
            want = ref.linear(values, p, resolve(levels, "normalize", name, position, True))
        elif method == "slerp":
            at_base = [m for m, *_ in inputs].index(base)
            t = number(None, "t", name, position, levels, None)
            want = ref.slerp(values[at_base], values[1 - at_base], t)
        else:
            x = fitted(weights[base][name], name, donor)
            values = [x] + models
            normalize = resolve(levels, "normalize", name, position, method == "ties")
            lam = float(resolve(levels, "lambda", name, position, 1.0))
            if method == "ties":
                want = ref.ties(x, models, of("weight"), of("density", 1.0), normalize, lam)
            else:
                mask = [m.reshape(x.shape) for m in drawn[name]]
                consensus = "sum" if method == "dare_ties" else None
                want = ref.dare(x, models, of("weight"), of("density", 1.0), mask, consensus, normalize, lam)
        assert got[name].shape == want.shape, f"{name}: {got[name].shape} for {want.shape}"
        right += int(ref.correctly_rounded(short, got[name], want, values).sum())
        total += got[name].size
    model, info = transformers.AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    wrong = {key: value for key, value in info.items() if value}
    rows = {model.get_input_embeddings().weight.shape[0], model.get_output_embeddings().weight.shape[0], model.config.vocab_size}
    ids = [model.config.eos_token_id, model.generation_config.eos_token_id]
    loads = not wrong and len(rows) == 1 and len(tokenizer) <= min(rows) and all(i is None or i < min(rows) for i in np.ravel(ids))
    share = 100 * right / total
    print(f"| {pathlib.Path(recipe).name} | {method} | {short} | {len(tensors)} | {share:.4f} | {total} | {model.config.num_hidden_layers} | {min(rows)} | {'yes' if loads else f'no: {wrong}'} |", flush=True)
    return share >= 99.99 and loads


print("| recipe | method | output | tensors | correctly rounded, % | elements | layers | rows of vocabulary | loads |")
print("|---|---|---|---|---|---|---|---|---|")
good = True
for recipe in recipes:
    with tempfile.TemporaryDirectory() as work:
        out = pathlib.Path(work) / "merged"
        command = [root / "target/release/mergecore", "merge", recipe, out, "--copy-tokenizer", "--allow-crimes"]
        subprocess.run(command + ["--quiet", "--random-seed", seed], check=True)
        good &= check(recipe, out)
sys.exit(not good)
