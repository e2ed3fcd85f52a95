"""Whether the outputs of mergecore and mergekit for a recipe agree, for speed.py.

Compared is a fixed sample of each tensor: 64 spots of 1024 elements, all of a small tensor.
Passthrough must be equal. mergekit computes linear and slerp in f32 and rounds: 99 % must be
equal and none apart by more than 1 ulp (at least that of 2^-14, for sums that nearly cancel).
Its ties rounds to f16 at each step, and where many changes are as large as the smallest that
is kept, which of them are kept is up to its sort: 96 % must be equal. dare_ties draws other
masks. For both, the shares of elements that stay as in the base must be within 0.01 and
the standard deviations of the changes within 2 %.
"""
import array
import collections
import json
import math
import random
import struct

SPOTS, SPOT = 64, 1024

Tensor = collections.namedtuple("Tensor", "dtype bits")


def weights(directory):
    return sorted(directory.glob("*.safetensors"))


def sample(directory):
    """Tensors by name, each with its dtype and the bits of the sampled elements."""
    tensors = {}
    for path in weights(directory):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                start, end = entry["data_offsets"]
                count, pick, bits = (end - start) // 2, random.Random(name), array.array("H")
                spots = [(pick.randrange(count - SPOT), SPOT) for _ in range(SPOTS)] if count > SPOTS * SPOT else [(0, count)]
                for first, elements in spots:
                    file.seek(8 + length + start + 2 * first)
                    bits.fromfile(file, elements)
                tensors[name] = Tensor(entry["dtype"], bits)
    return tensors


def values(tensor):
    """The sampled elements as floats."""
    if tensor.dtype == "BF16":
        return array.array("f", array.array("I", (bits << 16 for bits in tensor.bits)).tobytes())
    return struct.unpack(f"<{len(tensor.bits)}e", tensor.bits.tobytes())


def apart(x, y, dtype):
    """The difference in ulps of the larger number, at least of 2^-14."""
    exponent = math.frexp(max(abs(x), abs(y), 2.0**-14))[1]
    return abs(x - y) / math.ldexp(1.0, exponent - {"BF16": 8, "F16": 11}[dtype])


def equality(name, ours, theirs):
    """Whether the elements agree, and in words how far."""
    total, gaps = 0, []
    for tensor, got in ours.items():
        x, y = values(got), values(theirs[tensor])
        total += len(x)
        gaps += [apart(p, q, got.dtype) for p, q in zip(x, y, strict=True) if p != q]
    equal = 1 - len(gaps) / total
    near = 1 - sum(not gap <= 1 for gap in gaps) / total
    good = {"passthrough": equal == 1, "ties": equal >= 0.96}.get(name, equal >= 0.99 and near == 1)
    return good, f"of {total} elements {100 * equal:.3f} % equal, {100 * near:.3f} % within 1 ulp, largest difference {max(gaps, default=0):.3g} ulp"


def changes(output, base):
    """The share of elements that are as in the base; mean and standard deviation of the changes."""
    total = same = first = second = 0
    for tensor, got in output.items():
        moved = [x - y for x, y in zip(values(got), values(base[tensor]), strict=True)]
        total, same = total + len(moved), same + moved.count(0)
        first, second = first + math.fsum(moved), second + math.fsum(x * x for x in moved)
    return same / total, first / total, math.sqrt(second / total - (first / total) ** 2)


def compare(name, ours, theirs, base):
    """Prints how far two outputs agree, and returns whether they do."""
    good, texts = {n: t.dtype for n, t in ours.items()} == {n: t.dtype for n, t in theirs.items()}, []
    if not good:
        texts.append("other tensors or types")
    elif name != "dare_ties":
        good, text = equality(name, ours, theirs)
        texts.append(text)
    if good and base:
        (same, mean, spread), (their_same, their_mean, their_spread) = changes(ours, base), changes(theirs, base)
        good = abs(same - their_same) <= 0.01 and abs(spread / their_spread - 1) <= 0.02
        texts.append(f"as in the base {100 * same:.2f} % (mergekit {100 * their_same:.2f} %), mean of the changes {mean:.2e} ({their_mean:.2e}), standard deviation {spread:.3e} ({their_spread:.3e})")
    print(f"{name}: {'outputs agree' if good else 'OUTPUTS DISAGREE'}: {'; '.join(texts)}", flush=True)
    return good
