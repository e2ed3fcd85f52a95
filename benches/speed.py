#!/usr/bin/env python3
"""Wall time and memory of whole merges, beside bare copying and beside mergekit.

    cargo build --release -p mergecore-cli -p mergecore-benches --bins
    python3 benches/speed.py WORKDIR [--mergekit BIN/mergekit-yaml] [--runs 7]

Makes three checkpoints of 1.1 billion parameters (bf16, 2.2 GB each) in WORKDIR unless they
are there, and merges them by five recipes into a new directory under --out, a memory file
system. Each run takes every recipe in turn, and for each of them, one after the other:

floor     `cat` of the weight files of all inputs to /dev/null, then `cp` of as many bytes as
          the output has to --out: of the first input if it has that size (within 1 in 1000),
          else of a file in WORKDIR with the first so many bytes of the inputs, one after the
          other. The sum of both times.
ours      `mergecore merge --no-hash`; with --hash then also one with hashing.
mergekit  `mergekit-yaml` on the CPU with as many threads and nothing to do but the weights:
          --no-write-model-card, --no-copy-tokenizer, --quiet.

All inputs are read before, so that they come from the page cache; what is written is deleted
between the steps. A first merge of ours is not timed. Anonymous memory is RssAnon, peak RSS,
which also counts mapped files, is VmHWM, of the process with its children, sampled in /proc
every 25 ms in all steps alike: more often would cost the merges time.

With mergekit, the outputs are compared as agreement.py says.

--disk DIR also measures each recipe on a disk: our merge, which syncs what it writes, and the
floor with `cp` to DIR and `sync` of that file.

Linux only; needs nothing but Python and the binaries. A limit is for the ratio of the minima.
Exit status 1 if outputs disagree or, at the full size, a limit is missed.
"""
import argparse
import collections
import os
import pathlib
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from agreement import compare, sample, weights

ROOT = pathlib.Path(__file__).resolve().parent.parent
MERGECORE = ROOT / "target/release/mergecore"
FULL, QUICK = (22, 2048, 32000), (4, 1024, 16000)
HASHING, DISK = 1.4, 1.2  # times a recipe's limit, and the limit on a disk

Recipe = collections.namedtuple("Recipe", "inputs limit faster text")
Step = collections.namedtuple("Step", "seconds cpu anon rss")


DELTAS = """\
base_model: base
models:
  - {model: a, parameters: {weight: %s, density: %s}}
  - {model: b, parameters: {weight: 0.3, density: %s}}
"""
RECIPES = {
    "passthrough": Recipe(["a", "b"], 0.8, 8, """\
slices:
  - sources: [{model: a, layer_range: [0, LAYERS]}]
  - sources: [{model: b, layer_range: [MIDDLE, LAYERS]}]
dtype: bfloat16
"""),
    "linear": Recipe(["a", "b"], 0.7, 15, """\
models:
  - {model: a, parameters: {weight: 0.4}}
  - {model: b, parameters: {weight: 0.6}}
dtype: bfloat16
"""),
    "slerp": Recipe(["a", "b"], 1.1, 12, """\
base_model: a
slices:
  - sources:
      - {model: a, layer_range: [0, LAYERS]}
      - {model: b, layer_range: [0, LAYERS]}
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
    - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
    - value: 0.5
dtype: bfloat16
"""),
    "dare_ties": Recipe(["base", "a", "b"], 1.6, 40, DELTAS % (0.4, 0.53, 0.53) + "dtype: bfloat16\n"),
    "ties": Recipe(["base", "a", "b"], 2.1, 40, DELTAS % (0.5, 0.5, 0.5) + "parameters: {normalize: true}\ndtype: float16\n"),
}
# Measured where --recipes names them, or `all`. Without a limit are those that need ranks or
# exponentials; those with a decomposition take minutes, as does mergekit where it has them.
OTHER_LIMIT, NO_LIMIT = 3, float("inf")
PLAIN = "models:\n  - {model: a, parameters: {weight: 0.4}}\n  - {model: b, parameters: {weight: 0.6}}\ndtype: bfloat16\n"
MOVED = DELTAS % (0.4, 0.53, 0.53) + "dtype: bfloat16\n"
PAIR = "base_model: a\nmodels:\n  - {model: a}\n  - {model: b}\n"


def two(text, limit=OTHER_LIMIT, faster=0):
    return Recipe(["a", "b"], limit, faster, text)


def three(text, limit=OTHER_LIMIT, faster=0):
    return Recipe(["base", "a", "b"], limit, faster, text)


OTHERS = {
    "nuslerp": two(PLAIN),
    "multislerp": two(PLAIN),
    "karcher": two(PLAIN),
    "task_arithmetic": three(MOVED),
    "dare_linear": three(MOVED),
    "della": three(MOVED, NO_LIMIT),
    "della_linear": three(MOVED, NO_LIMIT),
    "breadcrumbs": three(MOVED),
    "breadcrumbs_ties": three(MOVED),
    "sce": three(MOVED + "parameters: {select_topk: 0.5}\n", NO_LIMIT),
    "ram": three(MOVED),
    "ramplus_tl": three(MOVED),
    "model_stock": three(MOVED),
    "nearswap": two(PAIR + "parameters: {t: 0.001}\ndtype: bfloat16\n"),
    "arcee_fusion": two(PAIR + "dtype: bfloat16\n", NO_LIMIT),
    "magmax": three(MOVED),
    "consensus_ta": three(MOVED),
    "iso_c": three(MOVED, NO_LIMIT),
    "tsv": three(MOVED, NO_LIMIT),
}
NOT_IN_MERGEKIT = ["magmax", "consensus_ta", "iso_c", "tsv"]


def write_recipe(work, name, layers):
    text = (RECIPES | OTHERS)[name].text.replace("LAYERS", str(layers)).replace("MIDDLE", str(layers * 14 // 22))
    (work / f"{name}.yml").write_text(f"merge_method: {name}\n{text}")


def memory(pid):
    """RssAnon and VmHWM in KiB of a process and its children."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    own = [int(fields.get(key, "0").split()[0]) for key in ("RssAnon", "VmHWM")]
    return [sum(values) for values in zip(own, *map(memory, children))]


def measure(command, cwd):
    peaks, done = [0, 0], threading.Event()

    def watch():
        while not done.wait(0.025):
            peaks[:] = map(max, peaks, memory(process.pid))

    with tempfile.TemporaryFile("w+") as errors:
        watcher = threading.Thread(target=watch)
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL, stderr=errors)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
        if process.returncode:
            errors.seek(0)
            sys.exit(f"failed: {shlex.join(map(str, command))}\n{errors.read()}")
    return Step(seconds, usage.ru_utime + usage.ru_stime, peaks[0] / 1024, peaks[1] / 1024)


def files_of(work, models):
    return [file for model in models for file in weights(work / model)]


def source_of(work, files, size):
    """A file of the size: the first one, or one made of them all."""
    if abs(files[0].stat().st_size - size) <= size / 1000:
        return files[0]
    made = work / f"bytes-{size}"
    if not made.exists() or made.stat().st_size != size:
        with made.open("wb") as to:
            for file in files:
                with file.open("rb") as data:
                    while block := data.read(min(1 << 24, size - to.tell())):
                        to.write(block)
    return made


def floor(inputs, source, out, synced):
    commands = [["cat", *inputs], ["cp", "--reflink=never", source, out]] + [["sync", out]] * synced
    seconds, cpu, anon, rss = zip(*(measure(command, out.parent) for command in commands))
    return Step(sum(seconds), sum(cpu), max(anon), max(rss))


def machine(mergekit):
    command = lambda *words: subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    field = lambda file, key: next((line.split(":")[1].strip() for line in open(file) if line.startswith(key)), "?")
    gigabytes = int(field("/proc/meminfo", "MemTotal").split()[0]) / 1e6
    print(f"machine: {field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores, {gigabytes:.0f} GB, Linux {platform.release()}")
    print(f"commit: {command('git', 'rev-parse', 'HEAD')}{', with changes' if command('git', 'status', '--porcelain') else ''}")
    print(f"date: {time.strftime('%Y-%m-%d %H:%M %Z')}")
    print(f"command: {shlex.join(sys.argv)}")
    if mergekit:
        python = pathlib.Path(mergekit).open().readline().removeprefix("#!").strip()
        print("mergekit " + command(python, "-c", "from importlib.metadata import version as v; print(v('mergekit') + ', torch ' + v('torch'))"))
    else:
        print("mergekit: none, not compared")


def warm(files, quiet=False):
    """Reads the files twice: what the second time comes slowly does not stay in memory."""
    measure(["cat", *files], ROOT)
    step = measure(["cat", *files], ROOT)
    rate = sum(file.stat().st_size for file in files) / step.seconds / 1e9
    if not quiet:
        print(f"inputs: {rate:.1f} GB/s from the page cache\n", flush=True)
    if rate < 1:
        sys.exit("the inputs do not stay in the page cache")


def table(chosen, steps, floor, limits):
    """Prints a Markdown table and returns which limits are missed: `limits` has that of each step
    for a recipe, in times the floor."""
    rows, missed = [], []
    for name, recipe in chosen.items():
        times = {what: [step.seconds for step in found] for (of, what), found in steps.items() if of == name}
        mergekit = floor == "floor" and "mergekit" in times
        pair = lambda what: (f"{what}, s, min / median", f"{min(times[what]):.2f} / {statistics.median(times[what]):.2f}")
        row, peaks = [("recipe", name), pair(floor)], []
        for what, limit in limits.items():
            ratio, median = (of(times[what]) / of(times[floor]) for of in (min, statistics.median))
            row += [pair(what), ("ratio of minima", f"{ratio:.2f}"), ("of medians", f"{median:.2f}"), ("limit", f"{limit(recipe):.4g}")]
            peaks.append((f"peak anonymous of {what}, MiB", f"{max(step.anon for step in steps[name, what]):.1f}"))
            if ratio > limit(recipe):
                missed.append(f"{name}, {what}: {ratio:.2f} times the floor, limit {limit(recipe):.4g}")
        if floor == "floor" and name in NOT_IN_MERGEKIT and any(what == "mergekit" for _, what in steps):
            row += [("mergekit, s, min / median", "-"), ("times faster (minima)", "-"), ("at least", "-")]
            peaks.append(("peak RSS of mergekit, MiB", "-"))
        if mergekit:
            faster = min(times["mergekit"]) / min(times["ours"])
            row += [pair("mergekit"), ("times faster (minima)", f"{faster:.1f}"), ("at least", str(recipe.faster))]
            peaks.append(("peak RSS of mergekit, MiB", f"{max(step.rss for step in steps[name, 'mergekit']):.0f}"))
            if faster < recipe.faster:
                missed.append(f"{name}: {faster:.1f} times faster than mergekit, at least {recipe.faster}")
        rows.append(row + peaks)
    print()
    for cells in ([head for head, _ in rows[0]], ["---"] * len(rows[0]), *([cell for _, cell in row] for row in rows)):
        print(f"| {' | '.join(cells)} |")
    return missed


def arguments():
    path = lambda text: pathlib.Path(text).absolute()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=path)
    parser.add_argument("--quick", action="store_true", help="small models, made in WORKDIR/quick; no limit counts")
    parser.add_argument("--size", metavar="LAYERS,WIDTH,ROWS", help="of the models [default: %s,%s,%s]" % FULL)
    parser.add_argument("--mergekit", type=path, default=shutil.which("mergekit-yaml"), metavar="PROGRAM", help="mergekit-yaml [default: that in PATH, if any]")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--mergekit-runs", type=int, help="[default: as --runs]")
    parser.add_argument("--recipes", default=",".join(RECIPES), help="`all`, or a list [default: %(default)s]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=path, default="/dev/shm")
    parser.add_argument("--hash", action="store_true", help="also measure ours with hashing")
    parser.add_argument("--disk", type=path, metavar="DIR", help="also measure with the output on this disk")
    args = parser.parse_args()
    if args.mergekit and not args.mergekit.is_file():
        parser.error(f"no mergekit at {args.mergekit}")
    args.mergekit_runs = args.runs if args.mergekit_runs is None else args.mergekit_runs
    known = RECIPES | OTHERS
    args.recipes = list(known) if args.recipes == "all" else args.recipes.split(",")
    if unknown := set(args.recipes) - known.keys():
        parser.error(f"no recipe {', '.join(unknown)}")
    return args


def main():
    args = arguments()
    size = QUICK if args.quick else tuple(map(int, args.size.split(","))) if args.size else FULL
    work = args.work / "quick" if args.quick else args.work
    chosen = {name: (RECIPES | OTHERS)[name] for name in args.recipes}
    if not weights(work / "b"):
        subprocess.run([ROOT / "target/release/make-checkpoint", work, *map(str, size)], check=True)
    machine(args.mergekit)

    command = {
        "ours": [MERGECORE, "merge", "--no-hash", "--quiet", "--threads", str(args.threads)],
        "hashing": [MERGECORE, "merge", "--quiet", "--threads", str(args.threads)],
        "mergekit": [args.mergekit, "--no-write-model-card", "--no-copy-tokenizer", "--quiet", "--num-threads", str(args.threads)],
    }
    command["ours on disk"] = command["ours"]
    repeated = {"floor": args.runs, "ours": args.runs}
    repeated |= {"hashing": args.runs} if args.hash else {}
    repeated |= {"mergekit": args.mergekit_runs} if args.mergekit else {}
    repeated |= {"floor on disk": args.runs, "ours on disk": args.runs} if args.disk else {}
    steps, source, sampled = collections.defaultdict(list), {}, {}

    def take(name, what):
        """One step; what it writes is sampled where it is new, and deleted."""
        on_disk = what.endswith("on disk")
        with tempfile.TemporaryDirectory(dir=args.disk if on_disk else args.out) as scratch:
            out = pathlib.Path(scratch) / "out"
            if on_disk:
                os.sync()
            if what.startswith("floor"):
                return floor(files_of(work, chosen[name].inputs), source[name], out, on_disk)
            step = measure([*command[what], f"{name}.yml", out], work)
            if args.mergekit and what in ("ours", "mergekit") and (name, what) not in sampled:
                sampled[name, what] = sample(out)
            if name not in source:
                source[name] = source_of(work, files_of(work, chosen[name].inputs), sum(file.stat().st_size for file in weights(out)))
            return step

    for name in chosen:
        write_recipe(work, name, size[0])
        take(name, "ours")
    warm(sorted({file for recipe in chosen.values() for file in files_of(work, recipe.inputs)} | set(source.values())))
    for run in range(max(repeated.values())):
        for name in chosen:
            for what in (what for what, runs in repeated.items() if run < runs and not (what == "mergekit" and name in NOT_IN_MERGEKIT)):
                step = take(name, what)
                steps[name, what].append(step)
                print(f"{run + 1} {name:11} {what:13} {step.seconds:8.3f} s, {step.cpu:8.3f} s of processors, peak anonymous {step.anon:8.1f} MiB, peak RSS {step.rss:8.1f} MiB", flush=True)

    print()
    agree = [compare(name, sampled[name, "ours"], sampled[name, "mergekit"], sample(work / "base") if "base" in recipe.inputs else None)
             for name, recipe in chosen.items() if (name, "mergekit") in sampled and name in RECIPES]
    limits = {"ours": lambda recipe: recipe.limit, "hashing": lambda recipe: HASHING * recipe.limit}
    missed = table(chosen, steps, "floor", {what: limit for what, limit in limits.items() if what in repeated})
    if args.disk:
        missed += table(chosen, steps, "floor on disk", {"ours on disk": lambda recipe: DISK})
    print("\nlimits missed: " + ("; ".join(missed) or "none") + (" (they do not count at this size)" if args.quick else ""))
    sys.exit(not all(agree) or bool(missed and not args.quick))


if __name__ == "__main__":
    main()
