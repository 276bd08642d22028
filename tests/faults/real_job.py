"""A job of real processes under watch: one life of `viva quantize`, and the bench it stands on."""
import contextlib, glob, hashlib, json, os, pathlib, re, select, signal, subprocess, tempfile, time

started = re.compile(r"^(\S+ \S+) info lanes: started child=(\S+) .*restarts=[1-9]")
died = re.compile(r"^(\S+ \S+) error lanes: (?:crash )?(?:child_terminated|start_error) child=(\S+)")
put_in = re.compile(r"fault put in on purpose at (\d+\.\d+)")


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
        self.source, self.lanes = str(source or bench.source), set()
        self.out = tempfile.TemporaryFile("w+")
        self.err = err or tempfile.TemporaryFile("w+")
        self.began = time.time()
        self.child = subprocess.Popen(list(map(str, self.command)), stdout=self.out, stderr=self.err,
                                      env=os.environ | (env or {}), preexec_fn=before, start_new_session=True)

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
        return self.child.returncode

    def ends(self, *codes, seconds=120):
        code = self.finish(seconds)
        must(code in codes, f"ended with {code}, not {codes}: {self.log[-600:]}{self.said[-600:]}")
        return code

    def report(self):
        return json.loads(self.said)["totals"]

    def deaths(self, times=None):
        """(seconds from each fault to the supervisor's report, from the fault to the lane's next life).

        Faults are `times`, or what the lanes themselves told. A fault is answered by the next death after it."""
        faults, downs, ups = set(), [], []
        for line in self.log.splitlines():
            faults |= {float(at) for at in put_in.findall(line)}
            if found := started.match(line):
                ups.append((seconds_of(found[1]), found[2]))
            elif found := died.match(line):
                downs.append((seconds_of(found[1]), found[2]))
        seen, back = [], []
        for at in sorted(times if times is not None else faults):
            late = [down for down in downs if down[0] >= at - 1e-3] # clocks are read one after the other
            if not late:
                continue
            down = min(late)
            downs.remove(down)
            seen.append(max(0.0, down[0] - at))
            back += [max(0.0, min(up) - at)] if (up := [u[0] for u in ups if u[1] == down[1] and u[0] >= down[0]]) else []
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

    def bad_luck(self, kind, after, tokens=1):
        """An environment in which that happens `tokens` times."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.place, prefix="luck-"))
        for n in range(tokens):
            (folder / f"token.{n}").touch()
        return {"LD_PRELOAD": str(self.luck), "BAD_LUCK": f"{kind} {after} {folder}"}, folder

    def fired(self, folder):
        return sorted(file.stat().st_ctime for file in folder.glob("fired.*"))

    def journal(self, output, strikes=3):
        left = pathlib.Path(f"{output}.journal")
        if not left.exists():
            return None
        done = subprocess.run([self.checker, left, str(strikes)], capture_output=True, text=True)
        must(done.returncode == 0, f"the journal breaks a law: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def resume(self, output, known, *more):
        """The same command to its end; shards that the journal has are not computed again. Gives the seconds until it
        works on what is left."""
        if output.exists() and known is None: # it was done before the fault
            return 0.0
        must(not output.exists() or known["named"], "a final name holds what was not finished")
        again = run(self, output, *more)
        again.ends(0)
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
