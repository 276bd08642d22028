"""Decoders and metrics written from the published formats alone; nothing here knows viva's sources.

Each decoder takes the tensors of a file as numpy arrays and returns float32, as an engine would see it.
"""

import json
import struct

import numpy as np

# bitsandbytes' NF4 levels and its signed dynamic map (7 exponent bits), by their float32 bits.
NF4_BITS = """bf800000 bf3239b1 bf066b30 beca32a0 be91a24d be3d353f bdba7871 00000000
3da2faff 3e24cae3 3e7c04dd 3ead033a 3ee1a4b8 3f1007ab 3f3913b3 3f800000"""
NF4 = np.array([int(x, 16) for x in NF4_BITS.split()], np.uint32).view(np.float32)


def dynamic_map():
    """0, 1 and +-10^(i-6) (0.1 + 0.9 (2j+1) / 2^(i+1)); stored maps differ from it by rounding only."""
    levels = [0.0, 1.0]
    for i in range(7):
        for j in range(2**i):
            level = 10.0 ** (i - 6) * (0.1 + 0.9 * (2 * j + 1) / 2 ** (i + 1))
            levels += [level, -level]
    return np.array(sorted(levels), np.float32)


SEEN = {}  # tables whose last bits only files hold, for methods that keep none


def int8_rows(tensors, name, shape):
    codes, scale = tensors[name], tensors[name + "_scale"]
    assert codes.dtype == np.int8 and codes.shape == tuple(shape)
    assert scale.shape == (shape[0], 1)
    stored = codes.nbytes + scale.nbytes
    return codes.astype(np.float32) * scale.astype(np.float32), stored


def int8_tensor(tensors, name, shape):
    codes, scale = tensors[name], tensors[name + "_scale"]
    assert codes.dtype == np.int8 and codes.shape == tuple(shape) and scale.shape == (1,)
    return codes.astype(np.float32) * scale.astype(np.float32), codes.nbytes + scale.nbytes


def llm_int8(tensors, name, shape):
    module = name.removesuffix(".weight")
    codes, scb, layout = tensors[name], tensors[module + ".SCB"], tensors[module + ".weight_format"]
    assert codes.dtype == np.int8 and codes.shape == tuple(shape)
    assert scb.dtype == np.float32 and scb.shape == (shape[0],)
    assert layout.dtype == np.uint8 and layout.shape == () and layout == 0
    # bitsandbytes multiplies by 1/127
    values = codes.astype(np.float32) * scb[:, None] * np.float32(7.874015718698502e-3)
    return values, codes.nbytes + scb.nbytes


def unpack_words(words, bits):
    """The unsigned numbers of each row of 32-bit words, lowest bits first."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    return (words.view(np.uint32)[..., None] >> shifts & (2**bits - 1)).reshape(words.shape[0], -1).astype(np.int32)


def pack_quantized(bits):
    def decode(tensors, name, shape):
        packed, scale = tensors[name + "_packed"], tensors[name + "_scale"]
        assert packed.dtype == np.int32 and packed.shape == (shape[0], shape[1] * bits // 32)
        assert tensors[name + "_shape"].dtype == np.int64 and list(tensors[name + "_shape"]) == list(shape)
        groups = scale.shape[1]
        assert scale.shape[0] == shape[0] and shape[1] % groups == 0
        zero, stored = np.int32(0), packed.nbytes + scale.nbytes
        if name + "_zero_point" in tensors:  # packed along the rows
            zeros = tensors[name + "_zero_point"]
            assert zeros.dtype == np.int32 and zeros.shape == ((shape[0] * bits + 31) // 32, groups)
            zero = unpack_words(np.ascontiguousarray(zeros.T), bits).T[:shape[0], :, None] - 2 ** (bits - 1)
            stored += zeros.nbytes
        codes = (unpack_words(packed, bits) - 2 ** (bits - 1)).reshape(shape[0], groups, -1)
        return ((codes - zero).astype(np.float32) * scale.astype(np.float32)[:, :, None]).reshape(shape), stored
    return decode


def nf4(tensors, name, shape):
    state = json.loads(bytes(tensors[name + ".quant_state.bitsandbytes__nf4"]))
    assert state["quant_type"] == "nf4" and state["shape"] == list(shape)
    count, block = int(np.prod(shape)), state["blocksize"]
    assert tensors[name].shape == ((count + 1) // 2, 1)
    assert np.array_equal(tensors[name + ".quant_map"].view(np.uint32), NF4.view(np.uint32))
    packed = tensors[name].reshape(-1)
    codes = np.empty(packed.size * 2, np.uint8)
    codes[0::2] = packed >> 4  # the first value lies in the high half
    codes[1::2] = packed & 15
    absmax = tensors[name + ".absmax"]
    blocks = (count + block - 1) // block
    assert absmax.shape == (blocks,)
    stored = packed.nbytes + absmax.nbytes
    if "nested_blocksize" in state:
        nested, levels = tensors[name + ".nested_absmax"], tensors[name + ".nested_quant_map"]
        assert absmax.dtype == np.uint8 and levels.shape == (256,)
        assert np.allclose(levels, dynamic_map(), rtol=1e-6, atol=0)
        SEEN["dynamic map"] = levels
        stored += nested.nbytes
        per_block = nested[np.arange(blocks) // state["nested_blocksize"]]
        absmax = levels[absmax] * per_block + np.float32(state["nested_offset"])
    assert absmax.dtype == np.float32
    values = NF4[codes[:count]] * np.repeat(absmax, block)[:count]
    return values.reshape(shape), stored


def ggml_blocks(tensors, name, shape, block_bytes):
    raw = tensors[name]
    assert raw.dtype == np.uint8 and raw.shape == (shape[0], shape[1] // 32 * block_bytes)
    blocks = raw.reshape(-1, block_bytes)
    return blocks, np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32), raw.nbytes


def halves(packed):
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def fifth_bits(raw):
    return np.unpackbits(np.ascontiguousarray(raw), axis=1, bitorder="little")


def q8_0(tensors, name, shape):
    blocks, scale, stored = ggml_blocks(tensors, name, shape, 34)
    codes = np.ascontiguousarray(blocks[:, 2:]).view(np.int8)
    return (codes.astype(np.float32) * scale).reshape(shape), stored


def q4_0(tensors, name, shape):
    blocks, scale, stored = ggml_blocks(tensors, name, shape, 18)
    codes = halves(blocks[:, 2:]).astype(np.int8) - 8
    return (codes.astype(np.float32) * scale).reshape(shape), stored


def e4m3_values():
    """1-4-3, bias 7, no infinity; 0x7F and 0xFF are NaN."""
    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    magnitude[[0x7F, 0xFF]] = np.nan
    return np.where(codes < 128, magnitude, -magnitude).astype(np.float32)


E4M3 = e4m3_values()
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def fp8(scales_shape):
    def decode(tensors, name, shape):
        codes, scale = tensors[name], tensors[name + "_scale"]
        assert codes.shape == tuple(shape)
        assert scale.shape == scales_shape(shape)
        stored = codes.nbytes + scale.nbytes
        scale = scale.astype(np.float32)
        if scale.ndim == 2 and scale.shape != (shape[0], 1):
            scale = np.kron(scale, np.ones((128, 128), np.float32))[: shape[0], : shape[1]]
        return E4M3[codes.view(np.uint8)] * scale, stored

    return decode


def low_nibble_first(packed):
    codes = np.empty((packed.shape[0], packed.shape[1] * 2), np.uint8)
    codes[:, 0::2], codes[:, 1::2] = packed & 15, packed >> 4
    return codes


def nvfp4(tensors, name, shape):
    packed, scale, divisor = (tensors[name + ending] for ending in ("_packed", "_scale", "_global_scale"))
    assert packed.dtype == np.uint8 and packed.shape == (shape[0], shape[1] // 2)
    assert scale.shape == (shape[0], shape[1] // 16)
    assert divisor.dtype == np.float32 and divisor.shape == (1,)
    factor = E4M3[scale.view(np.uint8)] / divisor[0]
    values = E2M1[low_nibble_first(packed)] * np.repeat(factor, 16, axis=1)
    return values, packed.nbytes + scale.nbytes + divisor.nbytes


def mxfp4(tensors, name, shape):
    packed, scale = tensors[name + "_packed"], tensors[name + "_scale"]
    assert packed.dtype == np.uint8 and packed.shape == (shape[0], shape[1] // 2)
    assert scale.dtype == np.uint8 and scale.shape == (shape[0], shape[1] // 32)
    factor = np.ldexp(np.float32(1), scale.astype(np.int32) - 127)
    return E2M1[low_nibble_first(packed)] * np.repeat(factor, 32, axis=1), packed.nbytes + scale.nbytes


def mxfp4_ggml(tensors, name, shape):
    raw = tensors[name]
    assert raw.dtype == np.uint8 and raw.shape == (shape[0], shape[1] // 32 * 17)
    blocks = raw.reshape(-1, 17)
    codes = np.concatenate([blocks[:, 1:] & 15, blocks[:, 1:] >> 4], axis=1)
    factor = np.ldexp(np.float32(1), blocks[:, :1].astype(np.int32) - 127)
    return (E2M1[codes] * factor).reshape(shape), raw.nbytes


def nvfp4_ggml(tensors, name, shape):
    raw = tensors[name]
    assert raw.dtype == np.uint8 and raw.shape == (shape[0], shape[1] // 64 * 36)
    blocks = raw.reshape(-1, 36)
    parts = blocks[:, 4:].reshape(-1, 4, 8)
    codes = np.concatenate([parts & 15, parts >> 4], axis=2)
    return (E2M1[codes] * E4M3[blocks[:, :4]][:, :, None]).reshape(shape), raw.nbytes


def q4_1(tensors, name, shape):
    blocks, scale, stored = ggml_blocks(tensors, name, shape, 20)
    least = np.ascontiguousarray(blocks[:, 2:4]).view(np.float16).astype(np.float32)
    return (halves(blocks[:, 4:]).astype(np.float32) * scale + least).reshape(shape), stored


def q5_0(tensors, name, shape):
    blocks, scale, stored = ggml_blocks(tensors, name, shape, 22)
    codes = (halves(blocks[:, 6:]) | fifth_bits(blocks[:, 2:6]) << 4).astype(np.int8) - 16
    return (codes.astype(np.float32) * scale).reshape(shape), stored


def q5_1(tensors, name, shape):
    blocks, scale, stored = ggml_blocks(tensors, name, shape, 24)
    least = np.ascontiguousarray(blocks[:, 2:4]).view(np.float16).astype(np.float32)
    codes = halves(blocks[:, 8:]) | fifth_bits(blocks[:, 4:8]) << 4
    return (codes.astype(np.float32) * scale + least).reshape(shape), stored


def plane(tensors, name, ending, dtype, shape=(-1,)):
    """A plane of layout safetensors: U8 bytes beside the weight, as numbers of a type."""
    raw = tensors[name + ending]
    assert raw.dtype == np.uint8
    return np.ascontiguousarray(raw).reshape(-1).view(dtype).reshape(shape), raw.nbytes


def source_float(tensors, name, values):
    """The source's type, by the bytes of a plane that has so many values of it."""
    return {4: np.float32, 2: np.float16}[tensors[name].nbytes // values]


def scatter(kept, mask):
    """Kept values in order to where the mask is set, zero elsewhere."""
    assert np.all(mask.reshape(-1, 4).sum(axis=1) == 2)
    out = np.zeros(mask.shape, np.float32)
    out[mask] = kept.reshape(-1)
    return out


def bitmask(tensors, name, shape):
    raw, stored = plane(tensors, name, ".bitmask", np.uint8, (shape[0], (shape[1] + 7) // 8))
    bits = np.unpackbits(raw, axis=1, bitorder="little")
    assert not bits[:, shape[1]:].any()
    return bits[:, : shape[1]].astype(bool), stored


def cutlass_mask(tensors, name, shape, word):
    """PyTorch's metadata of 64 rows at a time, back in order by its own formula; 4 bits a group."""
    slabs, words = -(-shape[0] // 64), shape[1] // (8 * word.itemsize)
    raw, stored = plane(tensors, name, ".metadata", word, (slabs, 64 * words))
    rows, cols = np.meshgrid(np.arange(64), np.arange(words), indexing="ij")
    to = rows % 2 * 2 + rows % 8 // 4 + rows % 4 // 2 * 32 + rows // 8 * 4
    move = ((to % 2 == 0) & (cols % 2 == 1)).astype(int) - ((to % 2 == 1) & (cols % 2 == 0)).astype(int)
    to, cols = to + move, cols - move
    place = cols // 2 * 128 + to * 2 + cols % 2
    ordered = np.ascontiguousarray(raw[:, place].reshape(slabs * 64, words)[: shape[0]])
    nibbles = ordered.view(np.uint8)[:, :, None] >> np.array([0, 4], np.uint8) & 15
    nibbles = nibbles.reshape(shape[0], shape[1] // 4)
    first, second = nibbles & 3, nibbles >> 2
    assert np.all(first < second)
    lanes = np.arange(4)
    mask = (lanes == first[:, :, None]) | (lanes == second[:, :, None])
    return mask.reshape(shape), stored


def sparse24(tensors, name, shape):
    mask, stored = bitmask(tensors, name, shape)
    kept, bytes_kept = plane(tensors, name, "", source_float(tensors, name, np.prod(shape) // 2))
    return scatter(kept.astype(np.float32), mask), stored + bytes_kept


def sparse24_cutlass(tensors, name, shape):
    mask, stored = cutlass_mask(tensors, name, shape, np.dtype(np.uint16))
    kept, bytes_kept = plane(tensors, name, "", source_float(tensors, name, np.prod(shape) // 2))
    return scatter(kept.astype(np.float32), mask), stored + bytes_kept


def int8_kept(tensors, name, shape):
    codes, stored = plane(tensors, name, "", np.int8, (shape[0], shape[1] // 2))
    width = tensors[name + ".scales"].nbytes // shape[0]
    scales, bytes_scales = plane(tensors, name, ".scales", {4: np.float32, 2: np.float16}[width], (-1, 1))
    return codes.astype(np.float32) * scales.astype(np.float32), stored + bytes_scales


def sparse24_int8(tensors, name, shape):
    mask, stored = bitmask(tensors, name, shape)
    kept, bytes_kept = int8_kept(tensors, name, shape)
    return scatter(kept, mask), stored + bytes_kept


def sparse24_cutlass_int8(tensors, name, shape):
    mask, stored = cutlass_mask(tensors, name, shape, np.dtype(np.uint32))
    kept, bytes_kept = int8_kept(tensors, name, shape)
    return scatter(kept, mask), stored + bytes_kept


def nf4_f16(tensors, name, shape):
    count, block = int(np.prod(shape)), 64
    packed, stored = plane(tensors, name, "", np.uint8)
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)[:count]
    absmax, bytes_absmax = plane(tensors, name, ".absmax", np.float16)
    assert absmax.size == (count + block - 1) // block
    values = NF4[codes] * np.repeat(absmax.astype(np.float32), block)[:count]
    return values.reshape(shape), stored + bytes_absmax


def sparse24_int4(tensors, name, shape):
    mask, stored = bitmask(tensors, name, shape)
    kept = (shape[0], shape[1] // 2)
    packed, bytes_packed = plane(tensors, name, "", np.uint8)
    group = 64  # as verify.py asks for
    width = tensors[name + ".scales"].nbytes // (kept[0] * kept[1] // group)
    scales, bytes_scales = plane(tensors, name, ".scales", {4: np.float32, 2: np.float16}[width], (-1, 1))
    codes = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1, group).astype(np.int32) - 8
    values = codes.astype(np.float32) * scales.astype(np.float32)
    return scatter(values.reshape(kept), mask), stored + bytes_packed + bytes_scales


def sparse24_nf4_dq(tensors, name, shape):
    mask, stored = bitmask(tensors, name, shape)
    kept = (shape[0], shape[1] // 2)
    count = int(np.prod(kept))
    packed, bytes_packed = plane(tensors, name, "", np.uint8)
    absmax, bytes_absmax = plane(tensors, name, ".absmax", np.uint8)
    nested, bytes_nested = plane(tensors, name, ".nested_absmax", np.float32)
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)[:count]
    scales = SEEN["dynamic map"][absmax] * np.repeat(nested, 256)[:absmax.size]
    values = NF4[codes] * np.repeat(scales, 64)[:count]
    return scatter(values.reshape(kept), mask), stored + bytes_packed + bytes_absmax + bytes_nested


def sparse24_nf4(tensors, name, shape):
    mask, stored = bitmask(tensors, name, shape)
    kept, bytes_kept = nf4_f16(tensors, name, (shape[0], shape[1] // 2))
    return scatter(kept, mask), stored + bytes_kept


def prune24(x, importance=None):
    """Of each 4 of a row the 2 largest |x|, or |x| sqrt(importance) in float32; ties keep the first."""
    score = np.abs(x.astype(np.float32))
    if importance is not None:
        score = score * np.sqrt(importance.astype(np.float32))
    order = np.argsort(-score.reshape(-1, 4), axis=1, kind="stable")[:, :2]
    mask = np.zeros((x.size // 4, 4), bool)
    np.put_along_axis(mask, order, True, axis=1)
    return np.where(mask.reshape(x.shape), x, x.dtype.type(0))


def awq(tensors, name, shape):
    """AutoAWQ's GEMM: words over 8 output columns, whose nibbles hold columns 0 2 4 6 1 3 5 7."""
    module = name.removesuffix(".weight")
    parts = [tensors[f"{module}.{part}"] for part in ("qweight", "qzeros", "scales")]
    qweight, qzeros, scales = parts
    group = shape[1] // scales.shape[0]
    assert qweight.dtype == np.int32 and qweight.shape == (shape[1], shape[0] // 8)
    assert qzeros.dtype == np.int32 and qzeros.shape == (shape[1] // group, shape[0] // 8)
    assert scales.dtype == np.float16 and scales.shape == (shape[1] // group, shape[0])

    def unpacked(words):
        nibbles = words.view(np.uint32)[:, :, None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15
        columns = np.empty_like(nibbles)
        columns[:, :, [0, 2, 4, 6, 1, 3, 5, 7]] = nibbles
        return columns.reshape(words.shape[0], -1).astype(np.float32)

    zeros, steps = (np.repeat(x, group, axis=0) for x in (unpacked(qzeros), scales.astype(np.float32)))
    return np.ascontiguousarray(((unpacked(qweight) - zeros) * steps).T), sum(x.nbytes for x in parts)


NF4_SIGNED = np.array(
    [-0.85639540, -0.66905198, -0.52337206, -0.40035601, -0.29101180, -0.18985712, -0.09374817, 0.0,
     0.08882972, 0.17955755, 0.27429237, 0.37595706, 0.48860422, 0.61866234, 0.77894436, 1.0], np.float32)


def nf4_signed(tensors, name, shape):
    """Two codes a byte, the first high; one signed f32 a block of 64, the block's extreme."""
    packed, extremes = tensors[name].ravel(), tensors[name + ".extremes"].ravel().view(np.float32)
    codes = np.stack([packed >> 4, packed & 15], axis=1).ravel()[: shape[0] * shape[1]]
    values = NF4_SIGNED[codes] * np.repeat(extremes, 64)[: codes.size]
    return values.reshape(shape), packed.nbytes + extremes.nbytes


DECODERS = {
    "awq": awq, "int4": pack_quantized(4), "int8": int8_rows, "int8-group": pack_quantized(8),
    "int8-tensor": int8_tensor, "llm-int8": llm_int8, "nf4": nf4, "nf4-dq": nf4, "nf4-f16": nf4_f16,
    "nf4-signed": nf4_signed, "q4_0": q4_0, "q4_1": q4_1, "q5_0": q5_0, "q5_1": q5_1, "q8_0": q8_0,
    "fp8": fp8(lambda shape: (shape[0], 1)), "fp8-tensor": fp8(lambda shape: (1,)),
    "fp8-block": fp8(lambda shape: (-(-shape[0] // 128), -(-shape[1] // 128))),
    "nvfp4": nvfp4, "nvfp4-four-or-six": nvfp4, "mxfp4": mxfp4, "mxfp4-ggml": mxfp4_ggml,
    "nvfp4-ggml": nvfp4_ggml, "sparse24": sparse24, "sparse24-cutlass": sparse24_cutlass,
    "sparse24+int8": sparse24_int8, "sparse24-cutlass+int8": sparse24_cutlass_int8,
    "sparse24+nf4": sparse24_nf4, "sparse24+nf4-dq": sparse24_nf4_dq, "sparse24+int4": sparse24_int4,
}


def metrics(x, y):
    """The report's numbers, recomputed in float64 from float32 values; sums are numpy's pairwise ones."""
    sampled = x.shape[-1] >= 1024  # of such rows the histogram counts every eighth run of values
    error = np.abs(x - y).astype(np.float64).ravel()  # the difference is rounded to float32 first
    x, y = x.astype(np.float64).ravel(), y.astype(np.float64).ravel()
    power, mse = np.sum(x * x), np.mean(error * error)
    rmse = np.sqrt(mse)
    return {
        "count": x.size,
        "mse": mse,
        "rmse": rmse,
        "mae": np.mean(error),
        "max_error": error.max(),
        "cosine": np.sum(x * y) / np.sqrt(power * np.sum(y * y)),
        "sqnr_db": 10 * np.log10(power / np.sum(error * error)),
        "rel_rms": np.sqrt(np.sum(error * error) / power),
    }, {
        # From a histogram with 32 buckets an octave: known to within a bucket.
        "p99": (np.quantile(error, 0.99) / (1.2 if sampled else 1.033),
                np.quantile(error, 0.99) * (1.2 if sampled else 1.033)),
        "outliers": ((0, np.sum(error > 3 * rmse) + 64) if sampled else
                     (np.sum(error > 4 * rmse * 1.034), np.sum(error > 4 * rmse))),
    }


def load_raw(path):
    """Every tensor of a file; what numpy has no type for, F8_E4M3 and BF16, as bytes of its width."""
    types = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32,
             "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_, "F8_E4M3": np.uint8, "BF16": np.uint16}
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(raw[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def write_safetensors(path, entries, header_bytes=None):
    """A minimal writer of its own, able to write what the library refuses. entries: name -> (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, raw) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = header_bytes if header_bytes is not None else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
