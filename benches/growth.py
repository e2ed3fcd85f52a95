#!/usr/bin/env python3
"""Time and memory of merges as models grow: in bytes, in tensors, in one tensor.

    cargo build --release -p mergecore-cli -p mergecore-benches --bins
    python3 benches/growth.py WORKDIR [--runs 5] [--out /dev/shm] [--cases dense,small,giant]

dense   Llama models of 50 MB to 3.3 GB (bf16): to read two and write one moves 0.15 to 10 GB.
small   Mixtures of experts of 10,011 tensors: 42 MB of tiny ones, 640 MB of larger ones.
giant   One tensor of 4.3 GB and nothing else. The base is zeros (a sparse file), the two
        models are one file under two names.

Makes the models of one case after the other in WORKDIR and deletes them again; the largest
take 10 GB. Each case is merged by linear and by ties into --out, with 2 threads, `--no-hash`,
inputs in the page cache. The least time of the runs counts; GB are those read and written once.
Peak anonymous memory is sampled in /proc every 25 ms; the bound is 64 MiB and 16 MiB a thread.
Exit status 1 if a merge exceeds it. Linux only; needs nothing but Python and the binaries.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from speed import MERGECORE, RECIPES, ROOT, machine, measure, warm, weights, write_recipe

THREADS = 2
BOUND = 64 + 16 * THREADS
METHODS = ["linear", "ties"]
GIANT = (1 << 20, 2048)  # rows and columns

# Arguments of make-checkpoint.
MODELS = {
    "dense": [["6", "512", "8000"], ["8", "1024", "16000"], ["10", "1536", "32000"], ["22", "2048", "32000"], ["34", "2048", "32000"]],
    "small": [["--experts", "136"], ["--experts", "136", "24", "256", "512"]],
    "giant": [None],
}


def make(work, size):
    if size:
        at = 2 * ("--experts" in size)
        return subprocess.run([ROOT / "target/release/make-checkpoint", *size[:at], work, *size[at:]], check=True)
    rows, columns = GIANT
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": rows, "hidden_size": columns, "num_hidden_layers": 0, "tie_word_embeddings": True}
    bytes_ = 2 * rows * columns
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "BF16", "shape": GIANT, "data_offsets": [0, bytes_]}}).encode()
    header += b" " * (-len(header) % 8)
    # Random, between 2^-7 and 2^-1 in magnitude.
    exponents = bytes(byte & 0x80 | 0x3C | byte & 3 for byte in range(256))
    for name in ("base", "a", "b"):
        (work / name).mkdir()
        (work / name / "config.json").write_text(json.dumps(config))
    with (work / "base/model.safetensors").open("wb") as base, (work / "a/model.safetensors").open("wb") as model:
        for file in (base, model):
            file.write(len(header).to_bytes(8, "little") + header)
        base.truncate(8 + len(header) + bytes_)
        for _ in range(0, bytes_, 1 << 22):
            block = bytearray(os.urandom(1 << 22))
            block[1::2] = block[1::2].translate(exponents)
            model.write(block)
    (work / "b/model.safetensors").hardlink_to(work / "a/model.safetensors")


def main():
    path = lambda text: pathlib.Path(text).absolute()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=path, default="/dev/shm")
    parser.add_argument("--cases", default=",".join(MODELS), help="[default: %(default)s]")
    args = parser.parse_args()
    machine(None)
    print("\n| case | tensors | model, MB | method | moved, GB | least of %d, s | s/GB | peak anonymous, MiB | bound, MiB |" % args.runs)
    print("|---|---|---|---|---|---|---|---|---|")
    worst = 0
    for case in args.cases.split(","):
        for size in MODELS[case]:
            with tempfile.TemporaryDirectory(dir=args.work) as work, tempfile.TemporaryDirectory(dir=args.out) as out:
                work, out = pathlib.Path(work), pathlib.Path(out) / "out"
                make(work, size)
                files = {model: weights(work / model) for model in ("base", "a", "b")}
                inspected = subprocess.run([MERGECORE, "inspect", "--json", work / "a"], stdout=subprocess.PIPE, check=True)
                tensors = len(json.loads(inspected.stdout)["tensors"])
                bytes_ = sum(file.stat().st_size for file in files["a"])
                warm([file for group in files.values() for file in group], quiet=True)
                for method in METHODS:
                    write_recipe(work, method, 0)
                    steps = []
                    for _ in range(args.runs):
                        steps.append(measure([MERGECORE, "merge", "--no-hash", "--quiet", "--threads", str(THREADS), f"{method}.yml", out], work))
                        subprocess.run(["rm", "-r", out], check=True)
                    moved = bytes_ * (len(RECIPES[method].inputs) + 1) / 1e9
                    seconds, peak = min(step.seconds for step in steps), max(step.anon for step in steps)
                    worst = max(worst, peak)
                    print(f"| {case} | {tensors} | {bytes_ / 1e6:.0f} | {method} | {moved:.2f} | {seconds:.3f} | {seconds / moved:.3f} | {peak:.1f} | {BOUND} |", flush=True)
    sys.exit(worst > BOUND)


if __name__ == "__main__":
    main()
