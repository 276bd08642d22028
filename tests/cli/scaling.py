"""AWQ's column scaling, judged on outputs: a trained BERT runs over text in numpy, what goes into its layers is measured
and held against what the layers make of it after `viva quantize -m awq --stats`.

A BERT's layers can hardly be folded, so its weights are dressed as a llama's: the inputs stay those of the real model.
"""

import json
import pathlib
import re
import struct

import numpy as np
from safetensors.numpy import load_file, save_file

import decoders

HEADS, LAYERS, TOKENS, SEQUENCES = 12, 6, 128, 10


def tokens_of(text, vocabulary):
    """Greedy wordpiece, which is near enough to make a model see words."""
    for word in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()):
        start = 0
        while start < len(word):
            ends = range(len(word), start, -1)
            pieces = ((end, ("##" if start else "") + word[start:end]) for end in ends)
            end, piece = next(((e, p) for e, p in pieces if p in vocabulary), (len(word), "[UNK]"))
            yield vocabulary[piece]
            start = end


def normalised(x, tensors, name):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * tensors[name + ".weight"] + tensors[name + ".bias"]


def run(tensors, ids):
    """What goes into each linear layer of a llama dressed in this model, (tokens, columns), by module."""
    inputs, e = {}, "embeddings."
    x = (tensors[e + "word_embeddings.weight"][ids] + tensors[e + "position_embeddings.weight"][:ids.shape[1]]
         + tensors[e + "token_type_embeddings.weight"][0])
    x = normalised(x, tensors, e + "LayerNorm")

    def linear(x, name):
        return x @ tensors[name + ".weight"].T + tensors[name + ".bias"]

    for layer in range(LAYERS):
        bert, llama = f"encoder.layer.{layer}.", f"model.layers.{layer}."
        attention = bert + "attention.self."
        q, k, v = (linear(x, attention + part).reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)
                   for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        context = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        for part in "qkv":
            inputs[f"{llama}self_attn.{part}_proj"] = x
        inputs[llama + "self_attn.o_proj"] = context
        x = normalised(x + linear(context, bert + "attention.output.dense"), tensors, bert + "attention.output.LayerNorm")
        inputs[llama + "mlp.gate_proj"] = inputs[llama + "mlp.up_proj"] = x
        h = linear(x, bert + "intermediate.dense")
        h = h * 0.5 * (1 + np.tanh(0.7978845608 * (h + 0.044715 * h ** 3)))
        inputs[llama + "mlp.down_proj"] = h
        x = normalised(x + linear(h, bert + "output.dense"), tensors, bert + "output.LayerNorm")
    return {module: x.reshape(-1, x.shape[-1]).astype(np.float32) for module, x in inputs.items()}


def dress(tensors, to):
    """The weights under a llama's names; the norms are those in front of the layers."""
    made, norm = {}, "embeddings.LayerNorm.weight"
    for layer in range(LAYERS):
        bert, llama = f"encoder.layer.{layer}.", f"model.layers.{layer}."
        attention = {"q": "self.query", "k": "self.key", "v": "self.value", "o": "output.dense"}
        names = {f"self_attn.{part}_proj": "attention." + name for part, name in attention.items()}
        names |= {"mlp.gate_proj": "intermediate.dense", "mlp.up_proj": "intermediate.dense", "mlp.down_proj": "output.dense"}
        for module, name in names.items():
            made[f"{llama}{module}.weight"] = tensors[f"{bert}{name}.weight"].copy()
        made[llama + "input_layernorm.weight"] = tensors[norm].copy()
        made[llama + "post_attention_layernorm.weight"] = tensors[bert + "attention.output.LayerNorm.weight"].copy()
        norm = bert + "output.LayerNorm.weight"
    to.mkdir(parents=True)
    made = {name: x.astype(np.float16) for name, x in made.items()}
    save_file(made, to / "model.safetensors", metadata={"format": "pt"})
    (to / "config.json").write_text(json.dumps({"model_type": "llama", "torch_dtype": "float16"}))
    return {name: x.astype(np.float32) for name, x in made.items()}


def write_statistics(inputs, file):
    stats = {}
    for module, x in inputs.items():
        stats[module + ".sum_sq"], stats[module + ".sum_abs"] = (x * x).sum(0), np.abs(x).sum(0)
        stats[module + ".count"] = np.array([len(x)], np.int64)
    save_file(stats, file)


def relative_error(x, wanted, got):
    y = x @ wanted.T
    return np.linalg.norm(x @ got.T - y) / np.linalg.norm(y)


def folded_scales(file):
    """The scales that a file's metadata tells of, by tensor: (columns, rows), each None where there is none."""
    with open(file, "rb") as f:
        metadata = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))["__metadata__"]
    note, digits = json.loads(metadata["viva"]), metadata["viva.scales"]
    numbers = np.frombuffer(bytes.fromhex(digits), ">f4").astype(np.float32)
    sets = np.split(numbers, np.cumsum(note["scales"])[:-1])
    return {name: [sets[entry[key]] if key in entry else None for key in ("columns", "rows")]
            for name, entry in note["scaled"].items()}


def check_function(check, was, coded, plain, scales, inputs):
    """What an engine reads computes, layer by layer, what the weights that are scaled back compute."""
    worst, norms, undone = 0.0, 0.0, 0.0
    for module, x in inputs.items():
        name = module + ".weight"
        raw, _ = decoders.awq(coded, name, was[name].shape)
        columns, rows = scales[name]
        x = x[:64].astype(np.float64)
        wanted = x @ plain[name].T
        got = (x / columns) @ raw.T.astype(np.float64) * (1 if rows is None else rows)
        worst = max(worst, np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
        undone = max(undone, float(np.abs(raw / columns * (1 if rows is None else rows[:, None]) - plain[name]).max()))
    for name in (n for n in was if "layernorm" in n):
        norms = max(norms, float(np.abs(coded[name].astype(np.float32) * scales[name][1] - was[name]).max()))
    check(worst < 1e-6, "awq: divided inputs into raw weights give what scaled back weights give", worst)
    check(norms < 1e-6, "awq: a divided norm times its scales is the norm", norms)
    check(undone < 1e-6, "awq: dequantize scales back what the note says", undone)


def check_resumes(check, must, viva, digest, command, whole):
    """Killed and resumed on another number of lanes, a scaled job ends in the bytes of an undisturbed one."""
    out = whole.with_name("killed")
    command = [*command, "-o", out, "--shard-bytes", "64KiB"]
    killed = viva(*command, "--allow-faults", "--fault", "stop-after=20")
    check(killed.returncode == -9 and not out.exists(), "awq: a scaled job is killed", killed)
    done = json.loads(must(*command, "--lanes", 1, "--json").stdout)
    check(done["totals"]["shards_resumed"] >= 20, "awq: the same command resumes it", done["totals"])
    check(digest(out) == digest(whole), "awq: killed and resumed on one lane gives the same bytes")


def check_scaling(check, must, viva, digest, model, place):
    """Runs the whole comparison below `place`, a folder that is there."""
    vocabulary = {word: i for i, word in enumerate((model / "vocab.txt").read_text().splitlines())}
    root = pathlib.Path(__file__).resolve().parents[2]
    tensors = load_file(model / "model.safetensors")
    seen = []
    for names in (("README.md", "actors/README.md"), ("kernels/README.md", "formats/README.md")):
        ids = list(tokens_of("\n".join((root / name).read_text() for name in names), vocabulary))
        seen.append(run(tensors, np.array(ids[:SEQUENCES * TOKENS]).reshape(SEQUENCES, TOKENS)))
    calibration, judged = seen
    source, stats = place / "llama", place / "stats.safetensors"
    was = dress(tensors, source)
    write_statistics(calibration, stats)
    error = {}
    for label, options in (("rtn", ":rtn"), ("clip", ":no-scale"), ("scaled", ":no-clip"), ("scaled+clip", "")):
        out, plain = place / label, place / f"{label}-plain"
        weighed = [] if label == "rtn" else ["--stats", stats]
        must("quantize", source, "-m", "awq" + options, *weighed, "-o", out)
        must("dequantize", out, "-o", plain)
        now = load_file(plain / "model.safetensors")
        error[label] = 100 * np.mean([relative_error(x, was[m + ".weight"], now[m + ".weight"]) for m, x in judged.items()])
        print("     mean relative error of the outputs of 42 layers, %-11s: %.2f %%" % (label, error[label]))
    check(error["scaled+clip"] < 0.95 * error["clip"] and error["clip"] < error["rtn"],
          "awq: scaled and clipped beats clipped beats rounded, on the outputs of a trained model", error)
    check(error["scaled"] < error["rtn"], "awq: scaled alone beats rounded", error)
    coded = load_file(place / "scaled+clip" / "model.safetensors")
    plain = load_file(place / "scaled+clip-plain" / "model.safetensors")
    check_function(check, was, coded, plain, folded_scales(place / "scaled+clip" / "model.safetensors"), judged)
    check_resumes(check, must, viva, digest, ["quantize", source, "-m", "awq", "--stats", stats], place / "scaled+clip")
    report = json.loads(must("compare", source, place / "scaled+clip-plain", "--json").stdout)
    again = json.loads(must("compare", source, place / "scaled+clip", "--json").stdout)
    # A norm is summed as one row or as one value a row: its cosine may differ in the last place.
    errors = [{t["name"]: dict(t["errors"], cosine=round(t["errors"]["cosine"], 14)) for t in r["tensors"] if t["errors"]}
              for r in (report, again)]
    check(errors[0] == errors[1], "awq: compare scales back as dequantize does")
