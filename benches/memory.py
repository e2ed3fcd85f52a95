#!/usr/bin/env python3
"""Peak anonymous memory of merges, method by method.

    cargo build --release -p mergecore-cli -p mergecore-benches --bins
    python3 benches/memory.py WORKDIR [LAYERS HIDDEN VOCAB] [--threads N]

Makes three synthetic checkpoints in WORKDIR (unless they are there), merges them by every
method with 1 and with N threads (2 by default), and samples RssAnon of the process in
/proc every 2 ms. Linux only; needs nothing but Python and the two binaries. The bound is
64 MiB plus 16 MiB a thread. Exit status 1 if a merge exceeds it.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import time

METHODS = {
    "passthrough": ("", "slices:\n  - sources: [{model: base, layer_range: [0, 4]}]\n  - sources: [{model: a, layer_range: [2, 6], parameters: {scale: 0.5}}]\n"),
    "linear": ("", "models:\n  - {model: a, parameters: {weight: 0.4}}\n  - {model: b, parameters: {weight: 0.6}}\n"),
    "slerp": ("base_model: a\nparameters: {t: [0.3, 0.7]}\n", "models: [{model: a}, {model: b}]\n"),
    "task_arithmetic": None,
    "ties": None,
    "dare_linear": None,
    "dare_ties": None,
}
DELTAS = "models:\n  - {model: a, parameters: {weight: 0.5, density: 0.5}}\n  - {model: b, parameters: {weight: 0.3, density: 0.5}}\n"


def recipe(method):
    extra, inputs = METHODS[method] or ("base_model: base\n", DELTAS)
    return f"merge_method: {method}\ndtype: bfloat16\n{extra}{inputs}"


def run(binary, work, method, threads):
    (work / f"{method}.yml").write_text(recipe(method))
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    start = time.time()
    process = subprocess.Popen([binary, "merge", f"{method}.yml", "out", "--quiet", "--threads", str(threads)], cwd=work)
    peak = 0
    while process.poll() is None:
        try:
            for line in open(f"/proc/{process.pid}/status"):
                if line.startswith("RssAnon:"):
                    peak = max(peak, int(line.split()[1]))
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.002)
    if process.returncode:
        sys.exit(f"{method} failed")
    written = sum(f.stat().st_size for f in out.iterdir())
    shutil.rmtree(out)
    return peak / 1024, time.time() - start, written


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("size", nargs="*", default=["10", "1536", "32000"], metavar="LAYERS HIDDEN VOCAB")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent
    binaries = root / "target/release"
    work = args.work.resolve()
    if not (work / "b/config.json").exists():
        subprocess.run([binaries / "make-checkpoint", work, *args.size], check=True)
    size = (work / "base/model.safetensors").stat().st_size
    print(f"three models of {size / 1e6:.0f} MB each (bf16)\n")
    print("| method | threads | peak anonymous, MiB | bound, MiB | wall, s | output, MB |\n|---|---|---|---|---|---|")
    worst = 0
    for method in METHODS:
        for threads in sorted({1, args.threads}):
            peak, wall, written = run(binaries / "mergecore", work, method, threads)
            bound = 64 + 16 * threads
            worst = max(worst, peak / bound)
            print(f"| {method} | {threads} | {peak:.1f} | {bound} | {wall:.1f} | {written / 1e6:.0f} |", flush=True)
    sys.exit(worst > 1)


main()
