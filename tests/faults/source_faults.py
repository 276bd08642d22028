"""Faults of the source: cut, corrupted, full of odd numbers, or changed meanwhile. Rows as fault_rows.py explains."""
import json, math, os, pathlib, re, shutil, struct, time

from real_job import digest, must, run


class damaged:
    """A copy of the small source to do harm to, and jobs on it."""

    def __init__(self, bench, output):
        self.bench, self.output, self.turn = bench, output, 0
        self.copy = pathlib.Path(f"{output}-source")
        shutil.copytree(bench.small, self.copy)
        self.file, = self.copy.glob("*.safetensors")
        self.whole = self.file.read_bytes()
        self.begin = 8 + int.from_bytes(self.whole[:8], "little") # of the tensors' bytes
        self.header = json.loads(self.whole[8:self.begin])
        self.tensors = {name: [self.begin + at for at in facts["data_offsets"]]
                        for name, facts in self.header.items() if name != "__metadata__"}

    def write(self, data):
        self.file.write_bytes(data)
        self.turn += 1

    def write_header(self, text):
        self.write(struct.pack("<Q", len(text)) + text + self.whole[self.begin:])

    def job(self, *more, codes, **how):
        where = pathlib.Path(f"{self.output}-{self.turn}-{len(self.bench.jobs)}")
        job = run(self.bench, where, *more, source=self.copy, **how)
        code = job.ends(*codes)
        left = [end for end in ("", ".partial", ".journal") if pathlib.Path(f"{where}{end}").exists()]
        must(left == ([""] if code == 0 else []), f"ended with {code} and left {left}")
        return job

    def refused(self, kind, *words, more=()):
        """Ends with 3 and an error that tells all of this; no work was tried, once or again."""
        job = self.job(*more, codes=[3], kind=kind)
        text = json.loads(job.said)["error"]["text"]
        for each in words:
            must(re.search(rf"(?<![0-9]){re.escape(str(each))}(?![0-9])", text), f"the error does not tell {each}: {text}")
        return job

    def refused_unread(self, *words):
        for kind in ("thread", "process"):
            job = self.refused(kind, *words)
            must("child=lane" not in job.log, "lanes were started for a source that cannot be read")

    def as_reference(self, *more, disturbed=()):
        """The bytes of one lane that is a thread and undisturbed, by process lanes as well."""
        one = self.job(*more, codes=[0], kind="thread", lanes=1)
        two = self.job(*more, *disturbed, codes=[0])
        must(digest(one.output) == digest(two.output), "threads and processes write other bytes")
        return two


def cut(bench, chance, output):
    """T16: at the header's end, at the bounds of tensors and of blocks of 4 KiB, and a byte beside each."""
    source, began = damaged(bench, output), time.time()
    bounds = sorted({at for each in source.tensors.values() for at in each} - {source.begin, len(source.whole)})
    blocks = range(4096, len(source.whole), 4096)
    edges = [8, source.begin, *chance.sample(bounds, 2), *chance.sample(blocks, 2), len(source.whole)]
    places = [at for edge in edges for at in (edge - 1, edge, edge + 1) if at < len(source.whole)]
    for at in [0, *places]:
        source.write(source.whole[:at])
        source.refused_unread(at)
    took = (time.time() - began) / (2 * len(places) + 2)
    run(bench, output).ends(0)
    return len(places) + 1, [took], []


def corrupted(bench, chance, output):
    """T17: bits of the header or the numbers flipped, wrong lengths, hostile numbers and nesting: refused, or read as one
    lane reads it, and nothing dies of it."""
    source, times = damaged(bench, output), 0
    size, begin = len(source.whole), source.begin
    for at in [chance.randrange(begin) for _ in range(6)] + [chance.randrange(begin, size) for _ in range(3)]:
        data = bytearray(source.whole)
        data[at] ^= 1 << chance.randrange(8)
        source.write(bytes(data))
        codes = [source.job(codes=(0, 2, 3), kind=kind).child.returncode for kind in ("thread", "process")]
        must(codes[0] == codes[1], f"threads and processes end with {codes}")
        if codes[0] == 0:
            source.as_reference()
        times += 1
    for word in chance.sample([0, 1, begin - 9, begin - 7, size - 8, size - 7, size, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 8,
                               (1 << 64) - 1], 4):
        source.write(struct.pack("<Q", word) + source.whole[8:])
        source.refused_unread()
        times += 1
    for number in chance.sample([1 << 48, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 10 ** 40], 3):
        name, key = chance.choice(sorted(source.tensors)), chance.choice(["data_offsets", "shape"])
        facts = json.loads(json.dumps(source.header))
        facts[name][key] = [number] * 2 if key == "shape" else [facts[name][key][0], number]
        source.write_header(json.dumps(facts).encode())
        source.refused_unread()
        times += 1
    source.write_header(b'{"a":' * 200_000 + b"1" + b"}" * 200_000)
    source.refused_unread()
    run(bench, output).ends(0)
    return times + 1, [], []


def odd_numbers(bench, chance, output):
    """T19: NaN, infinity, denormal, zero and huge in bf16. The first two are refused with their place, or kept as they
    are; the others encoded by the bytes of the reference, a lane's death or not."""
    source = damaged(bench, output)
    name = chance.choice([each for each in sorted(source.tensors) if each.endswith("proj.weight")])
    begin, end = source.tensors[name]
    rows, columns = source.header[name]["shape"]
    crash = ["--allow-faults", "--fault", f"crash-at={chance.randint(1, 60)}"]

    def put(at, words):
        source.write(source.whole[:at] + words + source.whole[at + len(words):])

    for word in (0x7fc0, 0x7f80, 0xff80):
        row, column = chance.randrange(rows), chance.randrange(columns)
        put(begin + 2 * (row * columns + column), struct.pack("<H", word))
        for kind in ("thread", "process"):
            source.refused(kind, name, f"[{row}, {column}]")
        kept = source.as_reference("--on-nan", "keep", disturbed=crash)
        must(kept.report()["restarts"] == 1, "no lane died")
    span = math.prod((rows, columns))
    for words in ([chance.randrange(1, 128) | chance.choice((0, 0x8000)) for _ in range(span)],
                  [chance.choice((0, 0x8000)) for _ in range(span)],
                  [0x7f7f - chance.randrange(4) | chance.choice((0, 0x8000)) for _ in range(span)]):
        put(begin, struct.pack(f"<{span}H", *words))
        must(source.as_reference(disturbed=crash).report()["restarts"] == 1, "no lane died")
    run(bench, output).ends(0)
    return 6, [], []


def changed_source(bench, chance, output):
    """T18: the source changes while the job runs. Process lanes see it when one starts anew, after one stood still for
    a second; thread lanes leave it to the end, which slow syncs hold up. What was durable stays, and is no good for
    the source as it is now: the same command says so, and begins anew when it may. Where nothing was, nothing stays."""
    took = []
    for kind in ("process", "thread"):
        copy, where = pathlib.Path(f"{output}-source-{kind}"), pathlib.Path(f"{output}-{kind}")
        shutil.copytree(bench.small, copy)
        held = ["--allow-faults", "--fault", f"hang-at={chance.randint(1, 40)}", "--stall-seconds", 1]
        luck, _ = bench.bad_luck("slow", 300_000, 0)
        job = run(bench, where, *(held if kind == "process" else []), source=copy, kind=kind,
                  env=luck if kind == "thread" else None)
        while job.runs() and b"jobs: started" not in os.pread(job.err.fileno(), 1 << 20, 0):
            time.sleep(0.001)
        at = time.time()
        with open(sorted(copy.glob("*.safetensors"))[0], "r+b") as changed:
            changed.seek(-chance.randint(1, 1000), 2)
            changed.write(b"?")
        job.ends(3)
        must("changed" in job.log + job.said and not where.exists(), "a source that changed was not noticed")
        took.append(job.ended - at)
        left = [pathlib.Path(f"{where}.{end}").exists() for end in ("partial", "journal")]
        known = bench.check(f"{where}.journal", 3) if left[1] else None # its bytes are of a source that is gone
        must(left[0] == left[1] and (known is None or known["done"] or known["ever_struck"]),
             f"partial output and journal are left: {left}, and the journal has {known}")
        if known is not None:
            must(known["ended"] == "malformed", f"the journal does not say why the job ended: {known}")
            same = run(bench, where, source=copy, kind=kind)
            same.ends(2)
            must("belongs to another job" in same.said, f"what is left of another source is taken on: {same.said}")
        anew = run(bench, where, *(["--overwrite"] if known is not None else []), source=copy, kind=kind)
        anew.ends(0)
        must(anew.report()["shards_resumed"] == 0, "shards of another source were taken for done")
        one = run(bench, pathlib.Path(f"{where}-one"), source=copy, kind="thread", lanes=1)
        one.ends(0)
        must(digest(one.output) == digest(where), "the bytes are not those of the source as it is now")
    run(bench, output).ends(0)
    return 2, took, []
