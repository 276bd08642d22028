#!/usr/bin/env python3
"""Golden bytes of every subset of option flags, and of sources of f16 and f32.

    golden_types.py > golden_types.inc          a minute

By golden_bytes.py, which computes methods from their headers' words alone. What it prints of bf16
has each size of group with each subset of flags but those that golden_bytes.py prints itself; of
the other types every method whose planes depend on the source's type or on more than its rounding.
At the end, as comments, PyTorch's metadata of 128 rows, whose array sparse24_test.cpp makes of ours.
"""

import itertools

import golden_bytes as by
from golden_bytes import COLS, ROWS, blocks, flat, fnv, tell

INT4_FLAGS = ("asym", "search", "absmax")
AWQ_FLAGS = ("no-clip", "no-scale", "rtn")
GROUPS = (128, 64, 32)


def subsets(flags):
    """Each with the words that select it, in the order of the flags."""
    for taken in itertools.product((False, True), repeat=len(flags)):
        chosen = [flag for flag, take in zip(flags, taken) if take]
        yield chosen, "".join(":" + flag for flag in chosen)


def int4_spellings():
    """Words, and arguments of by.int4."""
    for group in GROUPS:
        for chosen, words in subsets(INT4_FLAGS):
            size = "" if group == 128 else f":group={group}"
            yield size + words, {"group": group, **{flag: True for flag in chosen}}


def tell_int4(rows, kept, mask, source, known=()):
    for words, options in int4_spellings():
        if words not in known:
            tell("int4" + words, by.int4(rows, **options), source)
            tell("sparse24+int4" + words, [*by.int4(kept, **options), mask], source)


def tell_awq(rows, source, known=()):
    for group in GROUPS:
        made = {steps: by.awq(rows, group, steps) for steps in (10, 1)}
        for chosen, words in subsets(AWQ_FLAGS):
            words = ("" if group == 128 else f":group={group}") + words
            if words not in known:
                clips = "no-clip" not in chosen and "rtn" not in chosen
                tell("awq" + words, made[10 if clips else 1], source)


def tell_bf16(rows, kept, mask):
    known = [words for words, _ in by.INT4_OPTIONS]
    tell_int4(rows, kept, mask, "plain", known)
    awq_known = ("", ":group=64", ":group=32", ":no-clip", ":no-scale", ":rtn",
                 ":group=32:no-clip:no-scale:rtn")
    tell_awq(rows, "plain", awq_known)
    channels = list(by.importance(COLS, 777))
    weighed_known = (":search", ":asym:search", ":group=32:asym:search")
    for words, options in int4_spellings():
        if "search" in options and words not in weighed_known:
            tell("int4" + words, by.int4(rows, channels=channels, **options), "weighed")
    tell("awq:group=64", by.awq(rows, group=64, channels=channels), "weighed")
    tell("awq:rtn", by.awq(rows, steps=1, channels=channels), "weighed")


def tell_type(x, rows, kept, mask):
    source, as_bytes = by.TYPE.name, by.TYPE.as_bytes
    codes, scales = by.int8_rows(rows)
    tell("int8", [b"".join(map(by.signed_bytes, codes)), scales], source)
    scale = by.int8_scale(x)
    tell("int8-tensor", [by.signed_bytes(by.int8_codes(x, scale)), as_bytes([scale])], source)
    for group in GROUPS:
        tell(by.sized("int8-group", "group", 128, group), by.int8_group(x, group), source)
    scales = [by.fp8_scale(row) for row in rows]
    tell("fp8", [b"".join(map(by.e4m3_bytes, rows, scales)), as_bytes(scales)], source)
    tell("fp8-tensor", [by.e4m3_bytes(x, by.fp8_scale(x)), as_bytes([by.fp8_scale(x)])], source)
    tell("nf4", by.nf4_f32(x, 64), source)
    tell("nf4-dq", by.nf4_dq(x, 64), source)
    tell("nf4-signed", by.nf4_signed(x, 64), source)
    tell("nf4-f16", by.nf4_f16(x, 64), source)
    tell("nvfp4-four-or-six", by.four_or_six(x), source)
    tell("sparse24", [b"".join(map(as_bytes, kept)), mask], source)
    codes, scales = by.int8_rows(kept)
    tell("sparse24+int8", [b"".join(map(by.signed_bytes, codes)), scales, mask], source)
    tell("sparse24+nf4", [*by.nf4_f16(flat(kept), 64), mask], source)
    tell("sparse24+nf4-dq", [*by.nf4_dq(flat(kept), 64, 0.0), mask], source)
    tell_int4(rows, kept, mask, source)
    tell_awq(rows, source)


def tell_tall(x):
    """PyTorch's arrays of 128 x 256, 16-bit words of f16 values, 32-bit ones of int8 codes."""
    rows = blocks(x, 256)
    pruned = [by.prune(row) for row in rows]
    codes, _ = by.int8_rows([kept for kept, _ in pruned])
    for name, nibbles, kept in (("16-bit", 4, [k for k, _ in pruned]), ("32-bit", 8, codes)):
        dense = [[0] * 256 for _ in rows]
        for to, (_, columns), values in zip(dense, pruned, kept):
            for c, value in zip(columns, values):
                to[c] = value
        _, metadata = by.converted(dense, 256, nibbles)
        print(f"// 128 x 256 by PyTorch, {name} words: 0x{fnv(metadata):016x}")


def main():
    print("// Printed by golden_types.py: as golden_rules.inc, of other types and subsets of flags.")
    for stored in (by.BF16, by.F16, by.F32):
        by.use(stored)
        x = [stored.rounded(v) for v in by.generate(ROWS * COLS, 2024)]
        rows = blocks(x, COLS)
        pruned = [by.prune(row) for row in rows]
        kept = [values for values, _ in pruned]
        mask = b"".join(by.bitmask(columns, COLS) for _, columns in pruned)
        if stored is by.BF16:
            tell_bf16(rows, kept, mask)
        else:
            tell_type(x, rows, kept, mask)
        if stored is by.F16:
            tell_tall(x)


if __name__ == "__main__":
    main()
