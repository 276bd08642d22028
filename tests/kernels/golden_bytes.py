#!/usr/bin/env python3
"""The golden bytes that no engine gives: methods computed from their headers' words alone.

Plain Python: f64 arithmetic rounded to f32 after each operation, which for + - * / and sqrt of f32
is f32's own rounding; codes are the nearest of a list by an exact comparison. Shares nothing with
the kernels but the specification.

    golden_bytes.py > golden_rules.inc          half a minute

holds for each plane of each method its hash and its first 16 bytes.
"""

import bisect
import math
import struct
from fractions import Fraction

ROWS, COLS = 64, 512


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def f16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def float_of(u):
    return struct.unpack("<f", struct.pack("<I", u))[0]


def bf16(x):
    u = bits(x)
    return float_of((u + 0x7FFF + (u >> 16 & 1)) >> 16 << 16)


def f16_bytes(values):
    return struct.pack(f"<{len(values)}e", *values)


def bf16_bytes(values):
    return b"".join(struct.pack("<H", bits(x) >> 16) for x in values)


def f32_bytes(values):
    return struct.pack(f"<{len(values)}f", *values)


class Stored:
    """A type of sources, in which some methods keep scales and kept values."""

    def __init__(self, name, rounded, as_bytes):
        self.name, self.rounded, self.as_bytes = name, rounded, as_bytes


BF16 = Stored("bf16", bf16, bf16_bytes)
F16 = Stored("f16", f16, f16_bytes)
F32 = Stored("f32", f32, f32_bytes)
TYPE = BF16  # of the source in hand


def use(stored):
    global TYPE
    TYPE = stored


def signed_bytes(codes):
    return bytes(c & 0xFF for c in codes)


def fnv(data):
    h = 1469598103934665603
    for byte in data:
        h = (h ^ byte) * 1099511628211 & (1 << 64) - 1
    return h


def draw(seed):
    seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
    return seed, ((seed >> 8) - 8388608) / 8388608


def generate(count, seed):
    for _ in range(count):
        seed, u = draw(seed)
        yield f32(f32(f32(u * u) * u) * 0.25)


def importance(count, seed):
    """What goes into the columns of the weighed methods: llama.cpp's imatrix of formats.md 9.1."""
    for _ in range(count):
        seed, u = draw(seed)
        yield f32(f32(u * u) + f32(0.01))


def minifloat(mantissa_bits, bias, codes):
    """Magnitudes of codes 0 … codes - 1, exact."""
    levels = []
    for code in range(codes):
        exponent, mantissa = code >> mantissa_bits, code & (1 << mantissa_bits) - 1
        scale = 2.0 ** ((exponent or 1) - bias - mantissa_bits)
        levels.append((mantissa + (1 << mantissa_bits if exponent else 0)) * scale)
    return levels


E4M3 = minifloat(3, 7, 0x7F)
E2M1 = minifloat(1, 1, 8)


def nearest(x, levels):
    """The code of the nearest magnitude, ties to the even code; beyond the last, the last."""
    a = abs(x)
    above = bisect.bisect_left(levels, a)
    if above == 0 or above == len(levels):
        return min(above, len(levels) - 1)
    middle = (levels[above - 1] + levels[above]) / 2  # exact: few bits
    if a == middle:
        return above - above % 2
    return above if a > middle else above - 1


def is_negative(x):
    return bits(x) >> 31


def amax(values):
    return max(map(abs, values))


def clamp(x, low, high):
    return max(low, min(high, x))


def pairs(codes, first_high):
    return bytes((a << 4 | b) if first_high else (a | b << 4) for a, b in zip(codes[::2], codes[1::2]))


def blocks(values, size):
    return [values[i : i + size] for i in range(0, len(values), size)]


def flat(rows):
    return [x for row in rows for x in row]


# -- int8, fp8 -----------------------------------------------------------------------------------


def int8_codes(values, scale):
    return [round(clamp(f32(x / scale), -128, 127)) for x in values]  # round: ties to even


def int8_scale(values):
    return TYPE.rounded(f32(amax(values) / 127.5))


def int8_group(values, group):
    parts = blocks(values, group)
    scales = [int8_scale(part) for part in parts]
    codes = [c + 128 for part, s in zip(parts, scales) for c in int8_codes(part, s)]
    return bytes(codes), TYPE.as_bytes(scales)


def fp8_scale(values):
    return TYPE.rounded(f32(amax(values) / 448))


def e4m3_bytes(values, scale):
    return bytes(nearest(f32(x / scale), E4M3) | is_negative(x) << 7 for x in values)


# -- int4 ----------------------------------------------------------------------------------------


def int4_refit(part, weights, scale, zero):
    """Search of int4.hpp: the least-squares scale of the best of 16 factors' levels."""
    best, refitted = 0.0, scale
    for j in range(16):
        inverse = f32(f32(32 / (34 - j)) * f32(1 / scale))
        a = b = 0.0
        for x, w in zip(part, weights):
            k = round(clamp(f32(x * inverse), -8 - zero, 7 - zero))
            a = f32(a + f32(f32(w * x) * k))
            b = f32(b + f32(f32(w * k) * k))
        score = f32(f32(a * a) / b) if b > 0 else 0.0
        if score > best:
            best, refitted = score, TYPE.rounded(f32(a / b))
    return refitted


def int4(rows, group=128, asym=False, search=False, absmax=False, channels=None):
    """Planes: codes, scales in the source's type and, with asym, zeros."""
    codes, scales, zeros = [], [], []
    for row in rows:
        for first in range(0, len(row), group):
            part = row[first : first + group]
            low, high = min(0.0, *part), max(0.0, *part)
            if asym:
                scale = TYPE.rounded(f32(f32(high - low) / 15))
                zero = round(clamp(f32(-8 - f32(low / scale)), -8, 7))
            else:
                scale, zero = TYPE.rounded(f32(amax(part) / (7 if absmax else 7.5))), 0
            if search:
                weights = channels[first : first + group] if channels else [1.0] * group
                scale = int4_refit(part, weights, scale, zero)
            codes += [round(clamp(f32(f32(x / scale) + zero), -8, 7)) + 8 for x in part]
            scales.append(scale)
            zeros.append(zero)
    planes = [pairs(codes, False), TYPE.as_bytes(scales)]
    if asym:
        across = len(rows[0]) // group
        words = [sum(zeros[(r + k) * across + g] + 8 << 4 * k for k in range(8))
                 for r in range(0, len(rows), 8) for g in range(across)]
        planes.append(struct.pack(f"<{len(words)}I", *words))
    return planes


# -- nf4 -----------------------------------------------------------------------------------------

NF4 = [f32(x) for x in (
    -1.0, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.091050036, 0.0,
    0.079580300, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1.0)]
NF4_SIGNED = [f32(x) for x in (
    -0.85639540, -0.66905198, -0.52337206, -0.40035601, -0.29101180, -0.18985712, -0.09374817, 0.0,
    0.08882972, 0.17955755, 0.27429237, 0.37595706, 0.48860422, 0.61866234, 0.77894436, 1.0)]

# The upper half of bitsandbytes' dynamic map, as its files carry it (formats.md 3.3).
DYNAMIC_UPPER = """
3513a3b7 365a1a94 370205ff 37b24206 38378034 388aefb3 38ba1f4b 3923d70b 398ce705 39c7e283 3a016f01
3a1eecc1 3a3c6a80 3a59e83e 3a7765ff 3aa7ef9d 3af1a9fc 3b1db22d 3b428f5c 3b676c8a 3b8624dd 3b989374
3bab020d 3bbd70a4 3bcfdf3b 3be24dd3 3bf4bc6a 3c039581 3c0ccccd 3c160418 3c1f3b64 3c3ae148 3c68f5c3
3c8b851f 3ca28f5c 3cb9999a 3cd0a3d7 3ce7ae13 3cfeb852 3d0ae147 3d166667 3d21eb85 3d2d70a3 3d38f5c3
3d447ae1 3d500000 3d5b851f 3d670a3d 3d728f5d 3d7e147a 3d84cccd 3d8a8f5d 3d9051eb 3d96147b 3d9bd70a
3da1999a 3da75c28 3dad1eb8 3db2e148 3db8a3d7 3dbe6667 3dc428f5 3dc9eb85 3ddb3334 3df80000 3e0a6666
3e18cccd 3e273333 3e359999 3e440000 3e526666 3e60cccd 3e6f3334 3e7d999a 3e860000 3e8d3334 3e946666
3e9b999a 3ea2cccc 3eaa0000 3eb13332 3eb86666 3ebf999a 3ec6cccc 3ece0000 3ed53332 3edc6666 3ee3999a
3eeacccc 3ef20000 3ef93334 3f003333 3f03cccd 3f076666 3f0b0000 3f0e999a 3f123334 3f15cccd 3f196666
3f1d0000 3f20999a 3f243333 3f27cccd 3f2b6667 3f2f0000 3f32999a 3f363334 3f39cccd 3f3d6667 3f410000
3f44999a 3f483333 3f4bcccc 3f4f6666 3f530000 3f569999 3f5a3333 3f5dcccc 3f616666 3f650000 3f68999a
3f6c3333 3f6fcccc 3f736666 3f770000 3f7a9999 3f7e3333 3f800000"""
UPPER = [float_of(int(word, 16)) for word in DYNAMIC_UPPER.split()]
DYNAMIC = [-x for x in reversed(UPPER[:-1])] + [0.0] + UPPER


def strictly_below(u, levels):
    """How many of the f32 midpoints of `levels` lie below u."""
    return sum(f32(f32(a + b) * 0.5) < u for a, b in zip(levels, levels[1:]))


def nf4_codes(values, inverse, levels):
    thresholds = [f32(f32(a + b) * 0.5) for a, b in zip(levels, levels[1:])]
    return [bisect.bisect_left(thresholds, f32(x * inverse)) for x in values]


def nf4(values, block):
    """Codes and the largest magnitudes of blocks."""
    codes, scales = [], []
    for part in blocks(values, block):
        codes += nf4_codes(part, f32(1 / amax(part)), NF4)
        scales.append(amax(part))
    return pairs(codes, True), scales


def nf4_f32(values, block):
    codes, scales = nf4(values, block)
    return codes, f32_bytes(scales)


def nf4_f16(values, block):
    codes, scales = nf4(values, block)
    return codes, f16_bytes(scales)


def nf4_dq(values, block, offset=None):
    codes, scales = nf4(values, block)
    if offset is None:
        offset = f32(float(sum(map(Fraction, scales)) / len(scales)))
    indices, nested = [], []
    for part in blocks([f32(s - offset) for s in scales], 256):
        nested.append(amax(part))
        inverse = f32(1 / max(nested[-1], f32(1e-38)))
        indices += [strictly_below(clamp(f32(a * inverse), -1, 1), DYNAMIC) for a in part]
    return codes, bytes(indices), f32_bytes(nested)


def nf4_signed(values, block):
    codes, scales = [], []
    for part in blocks(values, block):
        extreme = max(part, key=abs)  # the first of equals
        codes += nf4_codes(part, f32(1 / extreme), NF4_SIGNED)
        scales.append(extreme)
    return pairs(codes, True), f32_bytes(scales)


# -- nvfp4-four-or-six ---------------------------------------------------------------------------


def four_or_six(values, channels=None):
    g = f32(256 * 6 / amax(values))
    codes, scales = [], b""
    for at, block in enumerate(blocks(values, 16)):
        weights = channels[at * 16 % COLS :][:16] if channels else [1.0] * 16
        found = []
        for top in (6, 4):
            scale_code = nearest(f32(g * f32(amax(block) / top)), E4M3) or 0x20
            s = E4M3[scale_code]
            y = [f32(x / f32(s / g)) for x in block]
            code = [nearest(v, E2M1) for v in y]
            e = [f32(w * f32(f32(abs(v) - E2M1[c]) ** 2)) for v, c, w in zip(y, code, weights)]
            t = [f32(f32(e[j] + e[j + 8]) + f32(e[j + 4] + e[j + 12])) for j in range(4)]
            cost = f32(f32(f32(t[0] + t[2]) + f32(t[1] + t[3])) * f32(s * s))
            found.append((cost, scale_code, [c | is_negative(v) << 3 for c, v in zip(code, y)]))
        best = found[1] if found[1][0] < found[0][0] else found[0]
        scales += bytes([best[1]])
        codes += best[2]
    return pairs(codes, False), scales, f32_bytes([g])


# -- awq -----------------------------------------------------------------------------------------

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def awq_quotient(x, scale):
    return round(f16(clamp(f32(x / scale), -64, 64)))


def awq_group(part, weights, steps):
    """Scale, zero point and codes by the clip of least loss, the first of equals."""
    low, high, top = min(0.0, *part), max(0.0, *part), amax(part)
    best = None
    for step in range(steps):
        c = f32(top * f32((20 - step) / 20))
        lo, hi = max(low, -c), min(high, c)
        scale = f16(f32(max(f16(f32(hi - lo)), f32(1e-5)) / 15))
        zero = clamp(-awq_quotient(lo, scale), 0, 15)
        codes = [clamp(awq_quotient(x, scale) + zero, 0, 15) for x in part]
        lanes = [0.0] * 16
        for i, (x, w, code) in enumerate(zip(part, weights, codes)):
            error = f32(f32((code - zero) * scale) - x)
            lanes[i % 16] = f32(lanes[i % 16] + f32(w * f32(error * error)))
        for half in (8, 4, 2, 1):
            lanes = [f32(lanes[i] + lanes[i + half]) for i in range(half)]
        if best is None or lanes[0] < best[0]:
            best = lanes[0], scale, zero, codes
    return best[1:]


def awq(rows, group=128, steps=10, channels=None):
    """Planes: words of codes, f16 scales, words of zero points."""
    words, scales, zero_words = [], [], []
    across = len(rows[0]) // group
    for unit in blocks(rows, 8):
        made = [[awq_group(row[g * group :][:group],
                           channels[g * group :][:group] if channels else [1.0] * group, steps)
                 for g in range(across)] for row in unit]
        scales += [scale for row in made for scale, _, _ in row]
        codes = [flat(part for _, _, part in row) for row in made]
        words += [sum(codes[row][c] << 4 * i for i, row in enumerate(AWQ_ORDER))
                  for c in range(len(rows[0]))]
        zero_words += [sum(made[row][g][1] << 4 * i for i, row in enumerate(AWQ_ORDER))
                       for g in range(across)]
    return (struct.pack(f"<{len(words)}I", *words), f16_bytes(scales),
            struct.pack(f"<{len(zero_words)}I", *zero_words))


# -- 2:4 -----------------------------------------------------------------------------------------


def prune(row, channels=None):
    """Kept values of a row, and which columns they are."""
    roots = [f32(math.sqrt(c)) for c in channels] if channels else [1.0] * len(row)
    score = [f32(abs(x) * root) for x, root in zip(row, roots)]
    kept = []
    for c in range(0, len(row), 4):
        kept += sorted(sorted(range(c, c + 4), key=lambda i: (-score[i], i))[:2])
    return [row[c] for c in kept], kept


def bitmask(kept, cols):
    return sum(1 << c for c in kept).to_bytes(cols // 8, "little")


def converted(rows, cols, nibbles=8):
    """What PyTorch's converter makes of dense rows, a multiple of 64: values, metadata. Words have
    `nibbles` of them: 8 of 8-bit values, 4 of 16-bit ones."""
    words = cols // (4 * nibbles)
    out, values = [0] * (len(rows) * words), []
    for r, dense in enumerate(rows):
        for c in range(words):
            word = 0
            for g in range(nibbles):
                group = dense[4 * nibbles * c + 4 * g :][:4]
                inside = tuple(i for i in range(4) if group[i])
                first, second = {
                    (): (2, 3), (0,): (0, 2), (1,): (1, 2), (2,): (2, 3), (3,): (2, 3),
                }.get(inside, inside)
                word |= (first | second << 2) << 4 * g
                values += [group[first], group[second]]
            row = (r // 64 * 64 + r % 2 * 2 + r % 8 // 4
                   + r % (128 // nibbles) % 4 // 2 * 32 + r % 64 // 8 * 4)
            right = int(row % 2 == 0 and c % 2 == 1) - int(row % 2 == 1 and c % 2 == 0)
            row, col = row + right, c - right
            out[col // 2 * 2 * len(rows) + row * 2 + col % 2] = word
    return values, struct.pack(f"<{len(out)}{'I' if nibbles == 8 else 'H'}", *out)


def int8_rows(rows):
    scales = [int8_scale(row) for row in rows]
    codes = [int8_codes(row, s) for row, s in zip(rows, scales)]
    return codes, TYPE.as_bytes(scales)


# -- what is printed -----------------------------------------------------------------------------

NF4_BLOCKS = (64, 32, 128, 256, 512, 1024, 2048, 4096)
INT4_OPTIONS = (
    ("", {}), (":group=64", {"group": 64}), (":group=32", {"group": 32}),
    (":asym", {"asym": True}), (":search", {"search": True}), (":absmax", {"absmax": True}),
    (":group=32:asym:search:absmax",
     {"group": 32, "asym": True, "search": True, "absmax": True}))


def tell(name, planes, columns="plain"):
    print(f'{{"{name}", {columns}, {{', flush=True)
    for plane in planes:
        print(f'  {{0x{fnv(plane):016x}u, "{plane[:16].hex()}"}},')
    print("}},")


def sized(name, key, default, size):
    return name if size == default else f"{name}:{key}={size}"


def tell_stacks(rows):
    pruned = [prune(row) for row in rows]
    kept = [values for values, _ in pruned]
    mask = b"".join(bitmask(columns, COLS) for _, columns in pruned)
    tell("sparse24", [b"".join(map(TYPE.as_bytes, kept)), mask])
    zeroed = [[x if c in columns else 0.0 for c, x in enumerate(row)]
              for row, columns in zip(rows, (set(columns) for _, columns in pruned))]
    tell("sparse24-dense", [b"".join(map(TYPE.as_bytes, zeroed))])
    codes, scales = int8_rows(kept)
    tell("sparse24+int8", [b"".join(map(signed_bytes, codes)), scales, mask])
    dense = [[0] * COLS for _ in rows]
    for to, (_, columns), row in zip(dense, pruned, codes):
        for c, q in zip(columns, row):
            to[c] = q
    values, metadata = converted(dense, COLS)
    tell("sparse24-cutlass+int8", [signed_bytes(values), scales, metadata])
    for block in NF4_BLOCKS:
        tell(sized("sparse24+nf4", "block", 64, block), [*nf4_f16(flat(kept), block), mask])
    for block in NF4_BLOCKS:
        tell(sized("sparse24+nf4-dq", "block", 64, block), [*nf4_dq(flat(kept), block, 0.0), mask])
    for words, options in INT4_OPTIONS:
        tell("sparse24+int4" + words, [*int4(kept, **options), mask])


def tell_weighed(rows, x):
    """Columns weigh what importance(512, 777) says."""
    channels = list(importance(COLS, 777))

    def weighed(name, planes):
        tell(name, planes, "weighed")

    for words, options in (("", {}), (":asym", {"asym": True}),
                           (":group=32:asym", {"group": 32, "asym": True})):
        name = "int4" + words + ":search"
        weighed(name, int4(rows, search=True, channels=channels, **options))
    weighed("nvfp4-four-or-six", four_or_six(x, channels))
    weighed("awq", awq(rows, channels=channels))
    weighed("awq:group=32", awq(rows, group=32, channels=channels))
    pruned = [prune(row, channels) for row in rows]
    kept = [values for values, _ in pruned]
    mask = b"".join(bitmask(columns, COLS) for _, columns in pruned)
    weighed("sparse24", [b"".join(map(bf16_bytes, kept)), mask])
    weighed("sparse24+int4", [*int4(kept), mask])


def main():
    x = [bf16(v) for v in generate(ROWS * COLS, 2024)]
    rows = blocks(x, COLS)
    assert fnv(bf16_bytes(x)) == 0x2CE9D5624FFA1F20
    print("// Printed by golden_bytes.py: each method on 64 x 512 bf16 values of generate(32768, 2024).")

    scale = int8_scale(x)
    tell("int8-tensor", [signed_bytes(int8_codes(x, scale)), bf16_bytes([scale])])
    for group in (128, 64, 32):
        tell(sized("int8-group", "group", 128, group), int8_group(x, group))
    for words, options in INT4_OPTIONS:
        tell("int4" + words, int4(rows, **options))
    tell("int4:asym:search", int4(rows, asym=True, search=True))
    for block in NF4_BLOCKS:
        tell(sized("nf4", "block", 64, block), nf4_f32(x, block))
    for block in NF4_BLOCKS:
        tell(sized("nf4-dq", "block", 64, block), nf4_dq(x, block))
    for block in NF4_BLOCKS:
        tell(sized("nf4-signed", "block", 64, block), nf4_signed(x, block))
    for block in NF4_BLOCKS:
        tell(sized("nf4-f16", "block", 64, block), nf4_f16(x, block))
    tell("fp8-tensor", [e4m3_bytes(x, fp8_scale(x)), bf16_bytes([fp8_scale(x)])])
    tell("nvfp4-four-or-six", four_or_six(x))
    for words, options in (
            ("", {}), (":group=64", {"group": 64}), (":group=32", {"group": 32}),
            (":no-clip", {"steps": 1}), (":no-scale", {}), (":rtn", {"steps": 1}),
            (":group=32:no-clip:no-scale:rtn", {"group": 32, "steps": 1})):
        tell("awq" + words, awq(rows, **options))
    tell_stacks(rows)

    tell_weighed(rows, x)

    # "wide": 128 rows of 256 columns, so two blocks; the second is three times as large.
    wide = blocks([bf16(f32(v * (3 if i % 256 >= 128 else 1))) for i, v in enumerate(x)], 256)
    scales = [fp8_scale([v for row in wide for v in row[c : c + 128]]) for c in (0, 128)]
    codes = b"".join(e4m3_bytes(row[128 * i : 128 * i + 128], s) for row in wide
                     for i, s in enumerate(scales))
    tell("fp8-block", [codes, bf16_bytes(scales)], "wide")


if __name__ == "__main__":
    main()
