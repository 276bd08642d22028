"""Files written by viva, loaded by the engines they are written for.

    engines.py VIVA WORK [METHOD…]

A small llama is quantized by each method. transformers loads the result (no key missing, unexpected or of
another shape), runs it, and every weight as the engine decodes it equals what `viva dequantize` writes.
AutoAWQ's layout is decoded by AutoAWQ's own function, because its loader wants a GPU; GGUF blocks are
compared byte for byte with the gguf package's quantizer, bitsandbytes' with bitsandbytes'.
"""
import importlib.util
import json
import logging
import pathlib
import subprocess
import sys
import tarfile

import numpy
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from model import make_model

VIVA, WORK, ONLY = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
IDS = torch.arange(3, 35)[None]

COMPRESSED = ["int8", "int8-tensor", "int8-group", "int4", "int4:search", "int4:group=64", "fp8", "fp8-tensor",
              "fp8-block", "nvfp4", "nvfp4-four-or-six", "mxfp4"]
BITSANDBYTES = ["nf4", "nf4-dq", "llm-int8"]
GGUF = {"q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1", "q5_0": "Q5_0", "q5_1": "Q5_1",
        "mxfp4-ggml": "MXFP4", "nvfp4-ggml": "NVFP4"}
# Activations are quantized too, so outputs differ by more than rounding.
ACTIVATIONS_TOO = {"int8", "int8-tensor", "fp8", "fp8-tensor", "fp8-block", "llm-int8"}

passed = failed = 0


def check(what, good, detail=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'} {what}{': ' + str(detail) if detail != '' else ''}", flush=True)


def viva(*words):
    done = subprocess.run([VIVA, *map(str, words), "--overwrite"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"viva {' '.join(map(str, words))}: {done.stderr.strip()}")


def tensors(folder):
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        found.update(load_file(file))
    return found


def relative(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def load(folder):
    from transformers import AutoModelForCausalLM
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, output_loading_info=True)
    return model, {key: value for key, value in info.items() if value}


def logits(model):
    with torch.no_grad():
        return model(IDS).logits.float()


def decoded_by_engine(module):
    """The weight as the module computes with it, or None where the engine has to run once first."""
    kind = type(module).__name__
    if kind == "Linear4bit":
        import bitsandbytes.functional as F
        return F.dequantize_4bit(module.weight.data, module.weight.quant_state)
    if kind == "Linear8bitLt":
        codes, scales = module.weight.data, module.weight.SCB
        return codes.float() * scales[:, None] / 127
    return module.weight


def linears(model):
    return {name: module for name, module in model.named_modules()
            if name.endswith("_proj") and hasattr(module, "weight")}


def compare_weights(method, model, plain):
    worst, equal, seen = 0.0, 0, 0
    for name, module in linears(model).items():
        ours = plain[name + ".weight"]
        theirs = decoded_by_engine(module).detach()
        if theirs.dtype == torch.bfloat16:
            ours = ours.to(torch.bfloat16)
        seen += 1
        equal += torch.equal(theirs, ours)
        worst = max(worst, relative(theirs, ours))
    # llm-int8's scale is divided by 127 there and multiplied by its reciprocal's rounding here.
    bound = 1e-6 if method == "llm-int8" else 0.0
    check(f"{method}: weights are what viva decodes", seen == 14 and (equal == seen or worst <= bound),
          f"{equal} of {seen} equal, worst relative difference {worst:.2g}")


def check_engine(method, source):
    out, plain_folder = WORK / f"run/{method}", WORK / f"run/{method}-plain"
    viva("quantize", source, "-m", method, "-o", out)
    viva("dequantize", out, "-o", plain_folder)
    plain = tensors(plain_folder)
    model, problems = load(out)
    check(f"{method}: transformers loads it", not problems, problems or type(model).__name__)
    if method in BITSANDBYTES:
        compare_weights(method, model, plain)
        got = logits(model)
    else:  # compressed-tensors decompresses when the model first runs
        got = logits(model)
        compare_weights(method, model, plain)
    want = logits(load(plain_folder)[0])
    bound = 0.1 if method in ACTIVATIONS_TOO else 0.02
    check(f"{method}: it runs", torch.isfinite(got).all() and relative(got, want) < bound,
          f"logits differ by {relative(got, want):.2g} of their norm from the dequantized model's")


def check_asymmetric(method, source):
    """transformers 5.24 makes room for unpacked zero points only; the library's decoder takes ours."""
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    out, plain_folder = WORK / f"run/{method}", WORK / f"run/{method}-plain"
    viva("quantize", source, "-m", method, "-o", out)
    viva("dequantize", out, "-o", plain_folder)
    group = json.loads((out / "config.json").read_text())["quantization_config"]["config_groups"]["group_0"]
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**group["weights"]))
    held, plain = tensors(out), tensors(plain_folder)
    names = [key.removesuffix(".weight_packed") for key in held if key.endswith(".weight_packed")]
    equal = 0
    for name in names:
        parts = {key.removeprefix(name + "."): value for key, value in held.items() if key.startswith(name + ".")}
        parts["weight_shape"] = torch.Size(parts["weight_shape"].tolist())
        theirs = PackedQuantizationCompressor.decompress(parts, scheme)["weight"]
        equal += torch.equal(theirs, plain[name + ".weight"].to(theirs.dtype))
    check(f"{method}: compressed-tensors decodes what viva decodes", len(names) == 14 and equal == 14,
          f"{equal} of {len(names)} weights equal")


def autoawq_decoder():
    archive = next((WORK / "autoawq").glob("autoawq-*.tar.gz"))
    with tarfile.open(archive) as held:
        member = next(m for m in held.getmembers() if m.name.endswith("awq/utils/packing_utils.py"))
        text = held.extractfile(member).read()
    place = WORK / "autoawq/packing_utils.py"
    place.write_bytes(text)
    spec = importlib.util.spec_from_file_location("packing_utils", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dequantize_gemm


def check_awq(source):
    decode = autoawq_decoder()
    out, plain_folder = WORK / "run/awq", WORK / "run/awq-plain"
    viva("quantize", source, "-m", "awq", "-o", out)
    viva("dequantize", out, "-o", plain_folder)
    held, plain = tensors(out), tensors(plain_folder)
    names = [key.removesuffix(".qweight") for key in held if key.endswith(".qweight")]
    equal = 0
    for name in names:
        theirs = decode(held[name + ".qweight"], held[name + ".qzeros"], held[name + ".scales"], 4, 128)
        equal += torch.equal(theirs.T, plain[name + ".weight"].to(theirs.dtype))
    check("awq: AutoAWQ decodes what viva decodes", len(names) == 14 and equal == 14,
          f"{equal} of {len(names)} weights equal")


def check_gguf(method, kind, source):
    from gguf import GGMLQuantizationType, quants
    out, plain_folder = WORK / f"run/{method}", WORK / f"run/{method}-plain"
    viva("quantize", source, "-m", method, "-o", out)
    viva("dequantize", out, "-o", plain_folder)
    held, plain, start = tensors(out), tensors(plain_folder), tensors(source)
    of = GGMLQuantizationType[kind]
    names = [name for name in held if name.endswith("_proj.weight")]
    decoded = sum(numpy.array_equal(quants.dequantize(held[n].numpy(), of), plain[n].float().numpy()) for n in names)
    check(f"{method}: gguf decodes what viva decodes", len(names) == 14 and decoded == 14,
          f"{decoded} of {len(names)} weights equal")
    try:
        encoded = sum(numpy.array_equal(quants.quantize(start[n].float().numpy(), of).reshape(held[n].shape),
                                        held[n].numpy()) for n in names)
    except NotImplementedError:
        return
    check(f"{method}: gguf encodes the same bytes", encoded == len(names), f"{encoded} of {len(names)} weights equal")


def check_bitsandbytes_bytes(source):
    import bitsandbytes.functional as F
    start, held = tensors(source), tensors(WORK / "run/nf4")
    names = [name for name in start if name.endswith("_proj.weight")]
    equal = 0
    for name in names:
        codes, state = F.quantize_4bit(start[name].float(), blocksize=64, quant_type="nf4")
        equal += torch.equal(codes.flatten(), held[name].flatten()) and torch.equal(
            state.absmax.flatten(), held[name + ".absmax"].flatten())
    check("nf4: bitsandbytes encodes the same bytes", equal == len(names), f"{equal} of {len(names)} weights equal")


def main():
    logging.disable(logging.WARNING)
    source = WORK / "run/source"
    make_model(source)
    cases = {m: lambda m=m: check_engine(m, source) for m in COMPRESSED + BITSANDBYTES}
    cases |= {m: lambda m=m: check_asymmetric(m, source) for m in ("int4:asym", "int4:asym:search")}
    cases["awq"] = lambda: check_awq(source)
    cases |= {m: lambda m=m, k=k: check_gguf(m, k, source) for m, k in GGUF.items()}
    cases["bitsandbytes-bytes"] = lambda: check_bitsandbytes_bytes(source)
    for name, run in cases.items():
        if ONLY and name not in ONLY:
            continue
        try:
            run()
        except Exception as why:  # one engine's refusal must not hide the others
            check(name, False, f"{type(why).__name__}: {why}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)


main()
