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


DECODERS = {"int8": int8_rows, "int8-tensor": int8_tensor, "int8-group": pack_quantized(8), "llm-int8": llm_int8,
            "int4": pack_quantized(4), "nf4": nf4, "nf4-dq": nf4, "q8_0": q8_0, "q4_0": q4_0,
            "q4_1": q4_1, "q5_0": q5_0, "q5_1": q5_1}


def metrics(x, y):
    """The report's numbers, recomputed in float64 from float32 values; sums are numpy's pairwise ones."""
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
        "p99": (np.quantile(error, 0.99) / 1.033, np.quantile(error, 0.99) * 1.033),
        "outliers": (np.sum(error > 4 * rmse * 1.034), np.sum(error > 4 * rmse)),
    }


def write_safetensors(path, entries, header_bytes=None):
    """A minimal writer of its own, able to write what the library refuses. entries: name -> (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, raw) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = header_bytes if header_bytes is not None else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
