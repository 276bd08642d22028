"""A job of real processes under watch: one life of `viva quantize`, and the bench it stands on."""
import contextlib, ctypes, glob, hashlib, json, os, pathlib, re, select, subprocess, tempfile, threading, time

started = re.compile(r"^(\S+ \S+) info lanes: started child=(\S+) .*restarts=[1-9]")
died = re.compile(r'^(\S+ \S+) error lanes: (?:child_terminated|start_error) child=(\S+) .*?reason="(.*)"$')
put_in = re.compile(r"fault put in on purpose at (\d+\.\d+)")
libc = ctypes.CDLL(None, use_errno=True)
batch_bytes = 256 << 10 # of source, at most; a lane has one in hand and one at its door


class broken(Exception):
    """A law that did not hold."""


class skipped(Exception):
    """A fault that this machine does not let us put in."""


def must(held, why):
    if not held:
        raise broken(why)


def seconds_of(stamp):
    whole, _, micro = stamp.partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%d %H:%M:%S")) + float("0." + micro)


def digest(folder):
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}


class watch(threading.Thread):
    """Looks every millisecond at what a job writes. Whatever stands under the final name at any instant must be whole
    (I4); the journal is held open, so that it can be read when the job is done and has removed it."""

    def __init__(self, output):
        super().__init__(daemon=True)
        self.output, self.seen, self.journal, self.over = pathlib.Path(output), {}, None, threading.Event()
        self.look()
        self.before = dict(self.seen)
        self.start()

    def run(self):
        while not self.over.wait(0.001):
            self.look()

    def look(self):
        with contextlib.suppress(OSError):
            fd = os.open(self.output, os.O_RDONLY | os.O_DIRECTORY)
            try:
                inode = os.fstat(fd).st_ino
                if inode not in self.seen:
                    self.seen[inode] = {name: hashlib.sha256(pathlib.Path(f"/proc/self/fd/{fd}/{name}").read_bytes()).hexdigest()
                                        for name in sorted(os.listdir(fd))}
            finally:
                os.close(fd)
        with contextlib.suppress(OSError):
            name = f"{self.output}.journal"
            if self.journal is None or os.stat(name).st_ino != os.fstat(self.journal.fileno()).st_ino:
                self.journal = open(name, "rb", buffering=0)

    def end(self):
        """All outputs that stood there and were none before."""
        self.over.set()
        self.join()
        self.look()
        return [what for inode, what in self.seen.items() if inode not in self.before]

    def close(self):
        self.end()
        if self.journal is not None:
            self.journal.close()


def see_only(binds):
    """This process and its children have these folders in the place of those, and nobody else does."""
    private, bind = 1 << 18 | 1 << 14, 1 << 12 # MS_PRIVATE with MS_REC, MS_BIND
    steps = [lambda: libc.unshare(1 << 17), lambda: libc.mount(b"none", b"/", None, private, None)]
    steps += [lambda ours=ours, name=name: libc.mount(os.fsencode(ours), os.fsencode(name), None, bind, None)
              for name, ours in binds.items()]
    for step in steps:
        if step() != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def children_of(pid):
    found = set()
    for tasks in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError):
            found |= {int(word) for word in open(tasks).read().split()}
    return found


def is_lane(pid):
    with contextlib.suppress(OSError):
        return open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[1:2] == [b"lane"]
    return False


def wait_gone(pids, seconds):
    """When the last of these processes, perhaps long gone, had ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            seen = select.poll()
            seen.register(fd, select.POLLIN)
            ended = seen.poll(1000 * seconds)
            os.close(fd)
            must(ended, f"lane {pid} outlives its program by {seconds} s")
    return time.time()


class run:
    """One life of a job; collects its lanes, and what it said."""

    def __init__(self, bench, output, *more, shard="64KiB", source=None, env=None, kind="process", before=None,
                 err=None, lanes=2, inside=()):
        self.command = [*inside, bench.viva, "quantize", source or bench.source, "-m", "nf4", "-o", output, "--isolation", kind,
                        "--lanes", lanes, "--shard-bytes", shard, "--json", "--log-level", "info", *map(str, more)]
        self.bench, self.source, self.output, self.lanes = bench, str(source or bench.source), pathlib.Path(output), set()
        self.struck, self.ended, self.document = set(), None, {}
        # a lane that dies loses two batches: of full shards, ends of tensors, and perhaps all that are small
        self.death_costs = 2 * (batch_bytes // (int(shard.removesuffix("KiB")) << 10) + 1) + bench.small_tensors
        self.out = tempfile.TemporaryFile("w+")
        self.err = err or tempfile.TemporaryFile("w+")
        self.watch = watch(output)
        bench.jobs.append(self)
        self.began = time.time()
        self.child = subprocess.Popen(list(map(str, self.command)), stdout=self.out, stderr=self.err,
                                      env=os.environ | bench.surroundings | (env or {}),
                                      preexec_fn=lambda: [step() for step in (bench.hide, before) if step],
                                      start_new_session=True)

    def look(self):
        now = {pid for pid in children_of(self.child.pid) if is_lane(pid)}
        self.lanes |= now
        return sorted(now)

    def at_work(self):
        """Lanes that know the job: not the spare, whose death nobody reports."""
        found = []
        for pid in self.look():
            with contextlib.suppress(OSError):
                if self.source in open(f"/proc/{pid}/maps").read():
                    found.append(pid)
        return found

    def runs(self):
        return self.child.poll() is None

    def wait_for_lanes(self):
        while self.runs() and not self.at_work():
            time.sleep(0.001)

    def strike(self, pid, number, times):
        """Sends the signal; `times` gets the moment if it met a life."""
        with contextlib.suppress(ProcessLookupError):
            at = time.time()
            os.kill(pid, number)
            times.append(at)

    def strike_lane(self, chance, number, times):
        """Sends the signal to some lane at work that had none yet, unless the job has named its output first."""
        while self.runs() and not self.output.exists():
            if lanes := [pid for pid in self.at_work() if pid not in self.struck]:
                pid = chance.choice(lanes)
                self.struck.add(pid)
                return self.strike(pid, number, times)
            time.sleep(0.001)

    def heard(self):
        """What it has logged so far."""
        return os.pread(self.err.fileno(), 1 << 24, 0).decode(errors="replace")

    def cpu_seconds(self):
        with contextlib.suppress(OSError, IndexError):
            fields = open(f"/proc/{self.child.pid}/stat").read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def finish(self, seconds=120):
        end = time.monotonic() + seconds
        while self.runs() and time.monotonic() < end:
            self.look()
            time.sleep(0.005)
        if self.runs():
            self.child.kill()
            self.child.wait()
            raise broken("the job did not end")
        self.ended = time.time()
        wait_gone([pid for pid in self.lanes if is_lane(pid)], 5)
        self.out.seek(0)
        self.said, self.log = self.out.read(), ""
        if self.err.seekable():
            self.err.seek(0)
            self.log = self.err.read()
        stood = self.watch.end()
        truth = self.bench.truths.get(self.source) or (digest(self.output) if self.output.exists() else None)
        must(all(each == truth for each in stood), "the final name held what was not the whole output")
        if self.child.returncode == 0:
            self.check_whole()
        return self.child.returncode

    def check_whole(self):
        """What a job that is done must have on record, and what its report may tell."""
        self.document = json.loads(self.said)
        totals, known = self.report(), self.record()
        must(known["done"] == totals["shards"] and known["named"] and not known["quarantined"],
             f"done, and the journal says {known}")
        if "--nodes" in self.command: # whose lanes are lost with their node
            return
        ends = max(self.lane_deaths(), len(self.downs())) # with starts that failed; the log need not hold all of a storm
        must(totals["restarts"] <= ends, f"{totals['restarts']} restarts of {ends} ends")
        must(totals["retries"] <= self.death_costs * self.lane_deaths(),
             f"{totals['retries']} retries for {self.lane_deaths()} deaths")

    def record(self):
        """What the independent checker makes of the journal, which is gone since."""
        must(self.watch.journal is not None, "nobody saw a journal")
        with tempfile.NamedTemporaryFile(dir=self.bench.place) as copy:
            copy.write(os.pread(self.watch.journal.fileno(), 1 << 30, 0))
            copy.flush()
            return self.bench.check(copy.name, 0)

    def lane_deaths(self):
        return sum(self.document.get("lane_deaths", {}).values())

    def ends(self, *codes, seconds=120):
        code = self.finish(seconds)
        must(code in codes, f"ended with {code}, not {codes}: {self.log[-600:]}{self.said[-600:]}")
        return code

    def report(self):
        return json.loads(self.said)["totals"]

    def downs(self, words=""):
        """(when, which lane, reason) of deaths that were reported with such a reason."""
        found = [(seconds_of(line[1]), line[2], line[3]) for line in map(died.match, self.log.splitlines()) if line]
        return [each for each in found if re.search(words, each[2])]

    def deaths(self, times=None, words=""):
        """(seconds from each fault to the supervisor's report, from the fault to the lane's next life).

        Faults are `times`, or what the lanes themselves told. A fault is answered by the next death after it, of those
        with such a reason."""
        faults = {float(at) for at in put_in.findall(self.log)} if times is None else times
        ups = [(seconds_of(line[1]), line[2]) for line in map(started.match, self.log.splitlines()) if line]
        downs, seen, back = self.downs(words), [], []
        for at in sorted(faults):
            late = [down for down in downs if down[0] >= at - 1e-3] # clocks are read one after the other
            if not late:
                continue
            down = min(late)
            downs.remove(down)
            seen.append(max(0.0, down[0] - at))
            back += [max(0.0, min(up) - at)] if (up := [u[0] for u in ups if u[1] == down[1] and u[0] >= down[0]]) else []
        return seen, back

    def all_deaths(self, times, words):
        """As `deaths`, and each of the faults has been reported."""
        seen, back = self.deaths(times, words)
        must(len(seen) == len(times), f"{len(seen)} of {len(times)} deaths are reported as {words}: {self.downs()}")
        return seen, back


class bench:
    """The source, what comes of it undisturbed, and the checks that every fault is followed by."""

    def __init__(self, viva, checker, luck, place):
        self.viva, self.checker, self.luck, self.place = viva, checker, luck, place
        self.source = place / "source"
        subprocess.run([viva, "synth", self.source, "--size", "64MiB"], check=True, stdout=subprocess.DEVNULL)
        self.small = place / "small"
        subprocess.run([viva, "synth", self.small, "--size", "4MiB"], check=True, stdout=subprocess.DEVNULL)
        whole = place / "whole"
        done = subprocess.run([viva, "quantize", self.source, "-m", "nf4", "-o", whole, "--isolation", "thread",
                               "--shard-bytes", "64KiB", "--json"], check=True, capture_output=True)
        self.truth, totals = digest(whole), json.loads(done.stdout)["totals"]
        self.shards, self.seconds, self.bytes = totals["shards"], totals["seconds"], totals["output_bytes"]
        alone = place / "whole-small"
        self.wholes = {str(self.source): whole, str(self.small): alone}
        subprocess.run([viva, "quantize", self.small, "-m", "nf4", "-o", alone, "--isolation", "thread", "--shard-bytes",
                        "64KiB"], check=True, stdout=subprocess.DEVNULL)
        self.truths, self.jobs, self.seed = {str(self.source): self.truth, str(self.small): digest(alone)}, [], 0
        with open(self.source / "model.safetensors", "rb") as file:
            tensors = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        self.small_tensors = sum(len(each.get("shape", [0, 0])) == 1 for each in tensors.values())
        self.hide_places()

    def hide_places(self):
        """Jobs get empty folders for temporary files, by TMPDIR; in the place of /tmp and /dev/shm, too, where we may."""
        self.scratch = [self.place / "tmp", self.place / "shm"]
        for each in self.scratch:
            each.mkdir()
        self.surroundings, self.hide = {"TMPDIR": str(self.scratch[0])}, None
        binds = dict(zip(("/tmp", "/dev/shm"), self.scratch))
        if any(str(each).startswith("/tmp/") for each in (self.viva, self.luck, self.place)):
            del binds["/tmp"]
        hide = lambda: see_only(binds)
        try:
            subprocess.run(["true"], check=True, preexec_fn=hide)
            self.hide = hide
        except (OSError, subprocess.SubprocessError) as why:
            print(f"left out: what jobs leave in {' and '.join(binds)}: {why}", flush=True)

    def leftovers(self):
        return [str(file.relative_to(self.place)) for each in self.scratch for file in each.iterdir()]

    def bad_luck(self, kind, after, tokens=1):
        """An environment in which that happens `tokens` times."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.place, prefix="luck-"))
        for n in range(tokens):
            (folder / f"token.{n}").touch()
        return {"LD_PRELOAD": str(self.luck), "BAD_LUCK": f"{kind} {after} {folder}"}, folder

    def fired(self, folder):
        return sorted(file.stat().st_ctime for file in folder.glob("fired.*"))

    def journal(self, output, strikes=3, source=None):
        """What the independent checker makes of a journal that was left, and of the bytes that it calls durable."""
        left, partial = pathlib.Path(f"{output}.journal"), pathlib.Path(f"{output}.partial")
        if not left.exists():
            return None
        source = source or self.source
        known = self.check(left, strikes)
        if partial.exists() and not known["named"]: # what is named may have changed places with an older output
            self.check(left, strikes, "--source", source, "--output", partial, "--whole", self.wholes[str(source)])
        return known

    def check(self, journal, strikes, *files):
        done = subprocess.run([self.checker, journal, str(strikes), *map(str, files)], capture_output=True, text=True)
        must(done.returncode == 0, f"the journal breaks a law: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def slow(self, milliseconds):
        """An environment in which each sync takes so much longer: a job is not over before its lanes have died."""
        return self.bad_luck("slow", 1000 * milliseconds, 0)[0]

    def resume(self, output, known, *more, **how):
        """The same command to its end; shards that the journal has are not computed again. Gives the seconds until it
        works on what is left."""
        if output.exists() and known is None: # it was done before the fault
            return 0.0
        must(not output.exists() or known["named"], "a final name holds what was not finished")
        again = run(self, output, *more, **how)
        again.ends(0)
        must(again.lane_deaths() == 0, "lanes died without a fault")
        if known is not None:
            must(again.report()["shards_resumed"] == known["done"],
                 f"resumed {again.report()['shards_resumed']}, the journal has {known['done']}")
        left = [pathlib.Path(f"{output}.{end}") for end in ("partial", "journal")]
        must(not any(each.exists() for each in left), "a job that is done left its journal or partial output")
        begun = re.search(r"^(\S+ \S+) info jobs: started", again.log, re.M)
        return max(0.0, seconds_of(begun[1]) - again.began) if begun else 0.0

    def done_of(self, output):
        """Shards that are durable."""
        said = subprocess.run([self.viva, "status", output, "--json"], capture_output=True, text=True)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return json.loads(said.stdout)["shards_durable"]
        return 0

    def lost_in(self, output):
        said = subprocess.run([self.viva, "status", output, "--json"], capture_output=True, text=True)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            now = json.loads(said.stdout)
            return 0 if now["state"] == "done" else (now["shards_total"] or self.shards) - now["shards_durable"]
        return self.shards

    def differing(self, output):
        whole, count = self.place / "whole", 0
        if digest(output) == self.truth:
            return 0
        for name in {f.name for f in whole.iterdir()} | {f.name for f in output.iterdir()}:
            sides = [(p / name).read_bytes() if (p / name).exists() else b"" for p in (whole, output)]
            if sides[0] != sides[1]:
                count += sum(x != y for x, y in zip(*sides)) + abs(len(sides[0]) - len(sides[1]))
        return count
