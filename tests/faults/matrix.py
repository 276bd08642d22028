#!/usr/bin/env python3
"""Faults of one machine, with real processes: `viva quantize` is killed, hung, filled up, and must not differ.

  matrix.py VIVA CHECK_JOURNAL [--seeds N] [--seed FIRST] [--only FAULT] [--throughput]

Each seed runs every fault once, at a place or time that the seed picks. Afterwards: the output equals that of
an undisturbed job byte for byte, a journal that was left obeys the laws of the independent checker and its
durable shards are not computed again, no lane outlives its program. Prints a table; the last line is
"N passed, N failed". --throughput adds what is kept while a lane is killed every 100 ms.
"""
import argparse, contextlib, glob, hashlib, json, os, pathlib, random, re, shutil, signal, statistics
import subprocess, sys, tempfile, time

hooks = ["crash", "abort", "hang", "oom", "garbage", "exit"]
started = re.compile(r"^(\S+ \S+) info lanes: started child=(\S+) .*restarts=[1-9]")
died = re.compile(r"^(\S+ \S+) error lanes: child_terminated child=(\S+)")


class broken(Exception):
    """A law that did not hold."""


def must(held, why):
    if not held:
        raise broken(why)


def seconds_of(stamp):
    whole, _, milli = stamp.partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%d %H:%M:%S")) + float("0." + milli)


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


class run:
    """One life of a job; collects its lanes, and what it said."""

    def __init__(self, bench, output, *more, shard="256KiB"):
        self.command = [bench.viva, "quantize", bench.source, "-m", "nf4", "-o", output, "--isolation", "process",
                        "--lanes", "2", "--shard-bytes", shard, "--json", "--log-level", "info", *map(str, more)]
        self.output, self.lanes = output, set()
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.child = subprocess.Popen(list(map(str, self.command)), stdout=self.out, stderr=self.err,
                                      start_new_session=True)

    def look(self):
        now = {pid for pid in children_of(self.child.pid) if is_lane(pid)}
        self.lanes |= now
        return sorted(now)

    def runs(self):
        return self.child.poll() is None

    def wait_for_lanes(self):
        """Until they work: a lane killed while the job starts ends the job, which resumes."""
        while self.runs() and b"jobs: started" not in os.pread(self.err.fileno(), 1 << 20, 0):
            self.look()
            time.sleep(0.001)

    def finish(self, seconds=120):
        end = time.monotonic() + seconds
        while self.runs() and time.monotonic() < end:
            self.look()
            time.sleep(0.005)
        if self.runs():
            self.child.kill()
            self.child.wait()
            raise broken("the job did not end")
        end = time.monotonic() + 5
        while orphans := [pid for pid in self.lanes if is_lane(pid)]:
            must(time.monotonic() < end, f"lanes outlive their program: {orphans}")
            time.sleep(0.005)
        self.out.seek(0)
        self.err.seek(0)
        self.said, self.log = self.out.read(), self.err.read()
        return self.child.returncode

    def report(self):
        return json.loads(self.said)["totals"]

    def recoveries(self, kills=()):
        """Seconds from a death, or from the kill that is known, to the lane's next life."""
        out, down = [], {}
        for line in self.log.splitlines():
            if found := started.match(line):
                at, lane = seconds_of(found[1]), found[2]
                if lane in down:
                    out.append(at - down.pop(lane))
            elif found := died.match(line):
                down.setdefault(found[2], max([k for k in kills if k <= seconds_of(found[1]) + 0.001],
                                              default=seconds_of(found[1])))
        return [max(0.0, each) for each in out]


class bench:
    def __init__(self, viva, checker, place):
        self.viva, self.checker, self.place = viva, checker, place
        self.source = place / "source"
        subprocess.run([viva, "synth", self.source, "--size", "128MiB"], check=True, stdout=subprocess.DEVNULL)
        whole = place / "whole"
        done = subprocess.run([viva, "quantize", self.source, "-m", "nf4", "-o", whole, "--isolation", "thread",
                               "--shard-bytes", "256KiB", "--json"], check=True, capture_output=True)
        self.truth, totals = digest(whole), json.loads(done.stdout)["totals"]
        self.shards, self.seconds = totals["shards"], totals["seconds"]
        self.bytes = totals["output_bytes"]

    def journal(self, output, strikes=3):
        left = pathlib.Path(f"{output}.journal")
        if not left.exists():
            return None
        done = subprocess.run([self.checker, left, str(strikes)], capture_output=True, text=True)
        must(done.returncode == 0, f"the journal breaks a law: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def resume(self, output, known, *more):
        """The same command to its end; shards that the journal has are not computed again."""
        must(not output.exists(), "a final name holds what was not finished")
        again = run(self, output, *more)
        code = again.finish()
        must(code == 0, f"resuming ended with {code}: {again.log[-500:]}")
        if known is not None:
            must(again.report()["shards_resumed"] == known["done"],
                 f"resumed {again.report()['shards_resumed']}, the journal has {known['done']}")
        return again

    # Each takes a chance and a place for the output; gives (times injected, recoveries in seconds).

    def kill(self, chance, output):
        job, kills = run(self, output), []
        job.wait_for_lanes()
        for _ in range(chance.randint(1, 4)):
            time.sleep(chance.uniform(0, self.seconds / 2))
            if lanes := job.look():
                with contextlib.suppress(ProcessLookupError):
                    kills.append(time.time())
                    os.kill(chance.choice(lanes), signal.SIGKILL)
        code = job.finish()
        must(code == 0, f"ended with {code}: {job.log[-500:]}")
        return len(kills), job.recoveries(kills)

    def hook(self, way, chance, output):
        job = run(self, output, "--allow-faults", "--fault", f"{way}-at={chance.randint(1, self.shards)}",
                  "--stall-seconds", 1)
        code = job.finish()
        must(code == 0, f"ended with {code}: {job.log[-500:]}")
        must(job.report()["restarts"] >= 1, "the fault was not put in")
        return 1, job.recoveries()

    def group(self, chance, output):
        job = run(self, output)
        time.sleep(chance.uniform(0.02, 0.1 + 2 * self.seconds))
        lanes = job.look()
        began = time.monotonic()
        for pid in chance.sample([job.child.pid, *lanes], 1 + len(lanes)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if job.finish() == 0:
            return 0, []
        known = self.journal(output)
        if not output.exists():
            self.resume(output, known)
        return 1, [time.monotonic() - began]

    def term(self, chance, output):
        job = run(self, output)
        job.wait_for_lanes()
        time.sleep(chance.uniform(0, self.seconds / 2))
        job.child.terminate()
        began = time.monotonic()
        code = job.finish()
        must(code in (0, 130), f"SIGTERM ended it with {code}")
        if code == 0:
            return 0, []
        self.resume(output, self.journal(output))
        return 1, [time.monotonic() - began]

    def full(self, chance, output):
        """Too small at first; then filled while the job runs."""
        disk = pathlib.Path(f"{output}-disk")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], check=True)
        try:
            job = run(self, disk / "out")
            must((code := job.finish()) == 5, f"a disk that is too small ended it with {code}")
            began = time.monotonic()
            subprocess.run(["mount", "-o", f"remount,size={int(1.2 * self.bytes)}", disk], check=True)
            job = run(self, disk / "out")
            time.sleep(chance.uniform(0, 0.1 + self.seconds))
            with contextlib.suppress(OSError), open(disk / "ballast", "wb", buffering=0) as ballast:
                while job.runs() and ballast.write(b"x" * (1 << 20)):
                    job.look()
            code = job.finish()
            must(code in (0, 5), f"a disk that fills up ended it with {code}")
            (disk / "ballast").unlink()
            if code == 5:
                self.resume(disk / "out", self.journal(disk / "out"))
            shutil.copytree(disk / "out", output)
            return 2, [time.monotonic() - began]
        finally:
            subprocess.run(["umount", disk], check=True)

    def poison(self, chance, output):
        bad = chance.randint(1, self.shards)
        job = run(self, output, "--attempts", 2, "--allow-faults", "--fault", f"poison={bad}")
        code = job.finish()
        must(code == 1, f"a poison shard ended it with {code}")
        known = self.journal(output, 2)
        must(known is not None and known["quarantined"] == [bad - 1], f"quarantine holds {known}")
        must(known["done"] == self.shards - 1, "an innocent shard was not done")
        again = self.resume(output, known, "--retry-quarantined", "--attempts", 2)
        return 1, job.recoveries() + again.recoveries()

    def lost_in(self, output):
        said = subprocess.run([self.viva, "status", output, "--json"], capture_output=True, text=True)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            now = json.loads(said.stdout)
            return 0 if now["state"] == "done" else (now["shards_total"] or self.shards) - now["shards_durable"]
        return self.shards

    def differing(self, output):
        whole, count = self.place / "whole", 0
        for name in {f.name for f in whole.iterdir()} | {f.name for f in output.iterdir()}:
            sides = [(p / name).read_bytes() if (p / name).exists() else b"" for p in (whole, output)]
            if sides[0] != sides[1]:
                count += sum(x != y for x, y in zip(*sides)) + abs(len(sides[0]) - len(sides[1]))
        return count

    def throughput(self, rounds=5):
        """Bytes of source a second with a lane killed every 100 ms, over those undisturbed; medians, in turn."""
        self.source = self.place / "large"
        subprocess.run([self.viva, "synth", self.source, "--size", "1GiB"], check=True, stdout=subprocess.DEVNULL)
        rates, kills = {False: [], True: []}, 0
        for which in [False, True] * rounds:
            output, turn = self.place / "rate", 0
            job = run(self, output, shard="8MiB")
            job.wait_for_lanes()
            while job.runs():
                time.sleep(0.1)
                if which and (lanes := job.look()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(lanes[turn % len(lanes)], signal.SIGKILL)
                    turn, kills = turn + 1, kills + 1
            must(job.finish() == 0, job.log[-500:])
            rates[which].append(job.report()["bytes_per_second"])
            shutil.rmtree(output)
        kept = statistics.median(rates[True]) / statistics.median(rates[False])
        print(f"throughput kept with a lane killed every 100 ms: {100 * kept:.1f} % "
              f"({kills} kills in {rounds} jobs of 1 GiB, 2 lanes)", flush=True)


def quantile(all_of, q):
    return f"{1000 * sorted(all_of)[min(len(all_of) - 1, int(q * len(all_of)))]:.0f} ms" if all_of else "-"


def main():
    ask = argparse.ArgumentParser()
    ask.add_argument("viva", type=pathlib.Path)
    ask.add_argument("checker", type=pathlib.Path)
    ask.add_argument("--seeds", type=int, default=2)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--only")
    ask.add_argument("--throughput", action="store_true")
    said = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="viva-faults-") as place:
        table = bench(said.viva.resolve(), said.checker.resolve(), pathlib.Path(place))
        ways = {"kill -9 of lanes": table.kill}
        ways |= {way: (lambda c, o, way=way: table.hook(way, c, o)) for way in hooks}
        ways |= {"kill -9 of all": table.group, "SIGTERM": table.term, "poison shard": table.poison}
        if os.geteuid() == 0:
            ways["full disk"] = table.full
        rows, passed, failed = {}, 0, 0
        for seed in range(said.seed, said.seed + said.seeds):
            for name, way in ways.items():
                if said.only not in (None, name):
                    continue
                row = rows.setdefault(name, {"times": 0, "took": [], "lost": 0, "differ": 0})
                output = pathlib.Path(place) / "out"
                try:
                    times, took = way(random.Random(f"{seed} {name}"), output)
                    row["times"] += times
                    row["took"] += took
                    wrong = table.differing(output)
                    row["differ"] += wrong
                    must(wrong == 0, f"{wrong} bytes differ from the undisturbed run")
                    passed += 1
                except broken as why:
                    failed += 1
                    row["lost"] += 0 if output.exists() else table.lost_in(output)
                    print(f"FAIL {name}, seed {seed}: {why}", flush=True)
                for left in pathlib.Path(place).glob("out*"):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        print(f"{'fault':18}{'times':>6}{'recovered p50':>15}{'p99':>10}{'lost shards':>13}{'differing bytes':>17}")
        for name, row in rows.items():
            print(f"{name:18}{row['times']:6}{quantile(row['took'], .5):>15}{quantile(row['took'], .99):>10}"
                  f"{row['lost']:13}{row['differ']:17}")
        if said.throughput:
            table.throughput()
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


sys.exit(main())
