#!/usr/bin/env python3
"""The golden hashes that no engine gives: methods computed from their headers' words alone.

Plain Python with exact fractions; f32, f16 and bf16 are roundings of them, codes the nearest of a
list. Shares nothing with the kernels but the specification. Prints what golden_test.cpp holds.
"""

import struct
from fractions import Fraction

ROWS, COLS = 64, 512


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def bf16(x):
    u = bits(x)
    return struct.unpack("<f", struct.pack("<I", (u + 0x7FFF + (u >> 16 & 1)) >> 16 << 16))[0]


def bf16_bytes(values):
    return b"".join(struct.pack("<H", bits(x) >> 16) for x in values)


def fnv(data):
    h = 1469598103934665603
    for byte in data:
        h = (h ^ byte) * 1099511628211 & (1 << 64) - 1
    return h


def generate(count, seed):
    for _ in range(count):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        u = ((seed >> 8) - 8388608) / 8388608
        yield f32(f32(f32(u * u) * u) * 0.25)


def minifloat(mantissa_bits, bias, codes):
    """Magnitudes of codes 0 … codes - 1, exact."""
    levels = []
    for code in range(codes):
        exponent, mantissa = code >> mantissa_bits, code & (1 << mantissa_bits) - 1
        scale = Fraction(2) ** ((exponent or 1) - bias - mantissa_bits)
        levels.append((mantissa + (1 << mantissa_bits if exponent else 0)) * scale)
    return levels


E4M3 = minifloat(3, 7, 0x7F)
E2M1 = minifloat(1, 1, 8)


def nearest(x, levels):
    """The code of the nearest magnitude, ties to the even code; beyond the last, the last."""
    a = abs(Fraction(x))
    return min(range(len(levels)), key=lambda code: (abs(levels[code] - a), code % 2))


def is_negative(x):
    return bits(x) >> 31


def amax(values):
    return max(map(abs, values))


def e4m3_bytes(values, scale):
    return bytes(nearest(f32(x / scale), E4M3) | is_negative(x) << 7 for x in values)


def int8_codes(values, scale):
    return [round(max(-128, min(127, f32(x / scale)))) for x in values]  # ties to even


def pairs(codes, first_high):
    return bytes((a << 4 | b) if first_high else (a | b << 4) for a, b in zip(codes[::2], codes[1::2]))


def blocks(values, size):
    return [values[i : i + size] for i in range(0, len(values), size)]


def int8_scale(values):
    return bf16(f32(amax(values) / 127.5))


def fp8_scale(values):
    return bf16(f32(amax(values) / 448))


def nf4_codes(values, inverse, levels):
    thresholds = [f32(a + b) / 2 for a, b in zip(levels, levels[1:])]
    return [sum(t < f32(x * inverse) for t in thresholds) for x in values]


NF4 = [f32(x) for x in (
    -1.0, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.091050036, 0.0,
    0.079580300, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1.0)]
NF4_SIGNED = [f32(x) for x in (
    -0.85639540, -0.66905198, -0.52337206, -0.40035601, -0.29101180, -0.18985712, -0.09374817, 0.0,
    0.08882972, 0.17955755, 0.27429237, 0.37595706, 0.48860422, 0.61866234, 0.77894436, 1.0)]


def nf4_f16(values):
    codes, scales = [], b""
    for block in blocks(values, 64):
        codes += nf4_codes(block, f32(1 / amax(block)), NF4)
        scales += struct.pack("<e", amax(block))
    return pairs(codes, True), scales


def nf4_signed(values):
    codes, scales = [], b""
    for block in blocks(values, 64):
        extreme = max(block, key=abs)  # the first of equals
        codes += nf4_codes(block, f32(1 / extreme), NF4_SIGNED)
        scales += struct.pack("<f", extreme)
    return pairs(codes, True), scales


def four_or_six(values):
    g = f32(256 * 6 / amax(values))
    codes, scales = [], b""
    for block in blocks(values, 16):
        found = []
        for top in (6, 4):
            scale_code = nearest(f32(g * f32(amax(block) / top)), E4M3) or 0x20
            s = float(E4M3[scale_code])
            y = [f32(x / f32(s / g)) for x in block]
            code = [nearest(v, E2M1) for v in y]
            e = [f32(f32(abs(v) - float(E2M1[c])) ** 2) for v, c in zip(y, code)]
            t = [f32(f32(e[j] + e[j + 8]) + f32(e[j + 4] + e[j + 12])) for j in range(4)]
            cost = f32(f32(f32(t[0] + t[2]) + f32(t[1] + t[3])) * f32(s * s))
            found.append((cost, scale_code, [c | is_negative(v) << 3 for c, v in zip(code, y)]))
        best = found[1] if found[1][0] < found[0][0] else found[0]
        scales += bytes([best[1]])
        codes += best[2]
    return pairs(codes, False), scales, struct.pack("<f", g)


def prune(row):
    """Kept values of a row, and which columns they are."""
    kept = []
    for c in range(0, len(row), 4):
        kept += sorted(sorted(range(c, c + 4), key=lambda i: (-abs(row[i]), i))[:2])
    return [row[c] for c in kept], kept


def bitmask(kept, cols):
    return sum(1 << c for c in kept).to_bytes(cols // 8, "little")


def converted(rows, cols):
    """What PyTorch's converter makes of 64 dense rows of 8-bit values: values, metadata."""
    words = cols // 32
    out, values = [0] * (64 * words), []
    for r, dense in enumerate(rows):
        for c in range(words):
            word = 0
            for g in range(8):
                group = dense[32 * c + 4 * g :][:4]
                inside = tuple(i for i in range(4) if group[i])
                first, second = {
                    (): (2, 3), (0,): (0, 2), (1,): (1, 2), (2,): (2, 3), (3,): (2, 3),
                }.get(inside, inside)
                word |= (first | second << 2) << 4 * g
                values += [group[first], group[second]]
            row = r % 2 * 2 + r % 8 // 4 + r % 16 % 4 // 2 * 32 + r // 8 * 4
            right = int(row % 2 == 0 and c % 2 == 1) - int(row % 2 == 1 and c % 2 == 0)
            row, col = row + right, c - right
            out[col // 2 * 128 + row * 2 + col % 2] = word
    return values, struct.pack(f"<{len(out)}I", *out)


def main():
    x = [bf16(v) for v in generate(ROWS * COLS, 2024)]
    rows = blocks(x, COLS)
    assert fnv(bf16_bytes(x)) == 0x2CE9D5624FFA1F20

    def tell(name, *planes):
        print(f"{name}: " + ", ".join(f"0x{fnv(plane):016x}" for plane in planes))

    def signed(codes):
        return bytes(c & 0xFF for c in codes)

    scale = int8_scale(x)
    tell("int8-tensor", signed(int8_codes(x, scale)), bf16_bytes([scale]))
    groups = blocks(x, 128)
    scales = [int8_scale(g) for g in groups]
    codes = [c + 128 for g, s in zip(groups, scales) for c in int8_codes(g, s)]
    tell("int8-group", bytes(codes), bf16_bytes(scales))

    tell("fp8-tensor", e4m3_bytes(x, fp8_scale(x)), bf16_bytes([fp8_scale(x)]))
    # 128 rows of 256 columns, so two blocks; the second is three times as large.
    wide = blocks([bf16(f32(v * (3 if i % 256 >= 128 else 1))) for i, v in enumerate(x)], 256)
    scales = [fp8_scale([v for row in wide for v in row[c : c + 128]]) for c in (0, 128)]
    codes = b"".join(e4m3_bytes(row[128 * i : 128 * i + 128], s) for row in wide
                     for i, s in enumerate(scales))
    tell("fp8-block", codes, bf16_bytes(scales))

    tell("nf4-f16", *nf4_f16(x))
    tell("nf4-signed", *nf4_signed(x))
    tell("nvfp4-four-or-six", *four_or_six(x))

    pruned = [prune(row) for row in rows]
    mask = b"".join(bitmask(columns, COLS) for _, columns in pruned)
    tell("sparse24", b"".join(bf16_bytes(kept) for kept, _ in pruned), mask)
    scales = [int8_scale(kept) for kept, _ in pruned]
    codes = [int8_codes(kept, s) for (kept, _), s in zip(pruned, scales)]
    code_bytes = b"".join(map(signed, codes))
    tell("sparse24+int8", code_bytes, bf16_bytes(scales), mask)
    dense = [[0] * COLS for _ in rows]
    for to, (_, columns), row in zip(dense, pruned, codes):
        for c, q in zip(columns, row):
            to[c] = q
    values, metadata = converted(dense, COLS)
    tell("sparse24-cutlass+int8", signed(values), bf16_bytes(scales), metadata)
    tell("sparse24+nf4", *nf4_f16([v for kept, _ in pruned for v in kept]), mask)


if __name__ == "__main__":
    main()
