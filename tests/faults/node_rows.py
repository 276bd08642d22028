"""Faults between machines: each node of a job in a network namespace of its own, the coordinator in one that has a
link to each. Rows as in fault_rows.py. Every other job sees the same files on all machines, the rest none.

Links are slow (tbf), or a job would be over before a link has been down for long. Needs root and iproute2."""
import os, pathlib, re, shutil, signal, subprocess, tempfile, time

from real_job import must, run, seconds_of, skipped

lost = re.compile(r"^(\S+ \S+) \S+ node (\S+): (?!up)(.*)$", re.M)
up = re.compile(r"^(\S+ \S+) \S+ node (\S+): up$", re.M)


def ip(*words):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise skipped(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")


class machine:
    """A namespace with one node in it."""

    def __init__(self, owner, number):
        self.owner, self.number = owner, number
        self.space, self.here, self.there = f"{owner.name}-{number}", f"10.99.{number}.1", f"10.99.{number}.2"
        self.address, self.node = f"{self.there}:4242", None
        self.scratch = owner.place / f"scratch-{number}"
        self.scratch.mkdir()
        ip("netns", "add", self.space)
        owner.spaces.append(self.space)
        ip("-n", owner.hub, "link", "add", self.link, "type", "veth", "peer", "name", "out", "netns", self.space)
        ip("-n", owner.hub, "addr", "add", f"{self.here}/30", "dev", self.link)
        ip("-n", self.space, "addr", "add", f"{self.there}/30", "dev", "out")
        for space, link in ((owner.hub, self.link), (self.space, "out"), (self.space, "lo")):
            ip("-n", space, "link", "set", link, "up")

    @property
    def link(self):
        return f"to{self.number}"

    def pace(self, megabits):
        for space, link in ((self.owner.hub, self.link), (self.space, "out")):
            done = subprocess.run(["tc", "-n", space, "qdisc", "replace", "dev", link, "root", "tbf", "rate",
                                   f"{megabits}mbit", "burst", "64kb", "latency", "400ms"], capture_output=True, text=True)
            if done.returncode != 0:
                raise skipped(f"tc: {done.stderr.strip()}")

    def start(self):
        self.said = tempfile.TemporaryFile("w+")
        self.node = subprocess.Popen(["ip", "netns", "exec", self.space, self.owner.bench.viva, "node", "--listen",
                                      self.address, "--insecure", "--lanes", "1", "--isolation", "thread", "--roots",
                                      self.owner.bench.place, "--scratch", self.scratch, "--json"],
                                     stdout=self.said, stderr=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + 20
        while '"listening"' not in self.heard():
            must(self.node.poll() is None and time.monotonic() < end, "a node did not start")
            time.sleep(0.005)
        return self

    def heard(self):
        self.said.seek(0)
        return self.said.read()

    def signal(self, number, times=None):
        if times is not None:
            times.append((time.time(), self.address))
        self.node.send_signal(number)

    def kill(self, times=None):
        self.signal(signal.SIGKILL, times)
        self.node.wait()

    def cable(self, state):
        ip("-n", self.owner.hub, "link", "set", self.link, state)

    def mute(self, whether):
        """It hears, and is not heard."""
        ip("-n", self.space, "route", "add" if whether else "del", "blackhole", self.here)


class cluster:
    def __init__(self, bench, chance, count, megabits=40):
        if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
            raise skipped("needs root, ip and tc")
        self.bench, self.spaces = bench, []
        self.name = f"viva{os.getpid()}"
        self.hub = f"{self.name}-hub"
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="nodes-", dir=bench.place))
        self.same_files = chance.random() < 0.5
        self.all = []
        try:
            ip("netns", "add", self.hub)
            self.spaces.append(self.hub)
            ip("-n", self.hub, "link", "set", "lo", "up")
            for number in range(count):
                self.all.append(machine(self, number))
                self.all[-1].pace(megabits)
                self.all[-1].start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for each in self.all:
            if each.node and each.node.poll() is None:
                each.node.kill()
                each.node.wait()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)
        shutil.rmtree(self.place, ignore_errors=True)

    def flags(self):
        roots = ["--shared-fs"] if self.same_files else []
        return ["--nodes", ",".join(each.address for each in self.all), "--insecure", *roots]

    def job(self, output, *more):
        return run(self.bench, output, *self.flags(), *more, lanes=0, kind="thread",
                   inside=["ip", "netns", "exec", self.hub])

    def ends(self, job, seconds=180):
        job.ends(0, seconds=seconds)
        self.is_tidy()

    def is_tidy(self):
        end = time.monotonic() + 20
        while left := [each for one in self.all if one.node.poll() is None for each in one.scratch.glob("node-*/job-*")]:
            must(time.monotonic() < end, f"a node keeps {left}")
            time.sleep(0.05)


def noticed(job, times):
    """Seconds from each (moment, node) to the coordinator's line that the node is lost."""
    seen = []
    for at, address in times:
        after = [seconds_of(found[1]) - at for found in lost.finditer(job.log)
                 if found[2] == address and seconds_of(found[1]) >= at - 1e-3]
        if after:
            seen.append(max(0.0, min(after)))
    return seen


def joined(job, after=0.0):
    return [seconds_of(found[1]) for found in up.finditer(job.log) if seconds_of(found[1]) >= after]


def lasts(job, seconds):
    """Waits so long, or until the job is over: true where silence could be found (3.6 s)."""
    began = time.monotonic()
    while job.runs() and time.monotonic() - began < seconds:
        time.sleep(0.01)
    return time.monotonic() - began > 3.9


def under_way(bench, chance, output, job):
    """Waits until some of the job is durable, and a while."""
    end = time.monotonic() + 60
    while job.runs() and bench.done_of(output) == 0:
        must(time.monotonic() < end, "nothing becomes durable")
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.5))


def coordinator_stopped(bench, chance, output):
    """T27"""
    with cluster(bench, chance, 2, megabits=8) as nodes:
        job = nodes.job(output)
        under_way(bench, chance, output, job)
        job.child.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(2, 12))
        job.child.send_signal(signal.SIGCONT)
        nodes.ends(job)
        return 1, [], []


def coordinator_killed(bench, chance, output):
    """T24 over nodes: the same command computes nothing durable again."""
    with cluster(bench, chance, 2, megabits=8) as nodes:
        job = nodes.job(output)
        under_way(bench, chance, output, job)
        job.child.kill()
        if job.finish() == 0:
            return 0, [], []
        known = bench.journal(output)
        must(known is None or known["done"] > 0, "nothing was durable")
        again = nodes.job(output)
        nodes.ends(again)
        if known is not None:
            must(again.report()["shards_resumed"] == known["done"], "durable shards were computed again")
        return 1, [], []


def slow_link(bench, chance, output):
    """T28: one link has a tenth of the others' rate."""
    with cluster(bench, chance, 3) as nodes:
        nodes.all[0].pace(4)
        job = nodes.job(output)
        nodes.ends(job)
        return 1, [], []


def silent(begin, end, seconds_from=4, seconds_to=6):
    """Some node falls silent for so long; where that is longer than 3.6 s, it must be found."""
    def row(bench, chance, output):
        with cluster(bench, chance, 3, megabits=8) as nodes:
            job, times = nodes.job(output), []
            under_way(bench, chance, output, job)
            victim = chance.choice(nodes.all)
            times.append((time.time(), victim.address))
            begin(victim)
            long = lasts(job, chance.uniform(seconds_from, seconds_to))
            end(victim)
            nodes.ends(job)
            seen = noticed(job, times)
            must(seen or not long, "a node that says nothing was not found")
            return len(seen) if seconds_from > 3.6 else 1, seen, []
    return row


# T29, T30, and a node that stands still: what it does later changes nothing.
cut = (lambda node: node.cable("down"), lambda node: node.cable("up"))
mute = (lambda node: node.mute(True), lambda node: node.mute(False))
stopped = (lambda node: node.signal(signal.SIGSTOP), lambda node: node.signal(signal.SIGCONT))


def flapping(bench, chance, output):
    """T31"""
    with cluster(bench, chance, 2) as nodes:
        job, victim = nodes.job(output), chance.choice(nodes.all)
        under_way(bench, chance, output, job)
        for _ in range(3):
            for state in ("down", "up"):
                victim.cable(state)
                time.sleep(1)
        nodes.ends(job)
        must(len(lost.findall(job.log)) <= 12, "it was lost and found without end")
        return 1, [], []


def storm(bench, chance, output):
    """T34: many nodes, and a coordinator that comes back."""
    with cluster(bench, chance, 16, megabits=2) as nodes:
        job = nodes.job(output)
        under_way(bench, chance, output, job)
        job.child.kill()
        if job.finish() == 0:
            return 0, [], []
        again = nodes.job(output)
        nodes.ends(again)
        seen = [at - again.began for at in joined(again)]
        must(not seen or max(seen) < 5, f"a node joined only after {max(seen, default=0):.1f} s")
        return 1, [], seen


def join_and_leave(bench, chance, output):
    """T37"""
    with cluster(bench, chance, 3) as nodes:
        first, second, third = nodes.all
        third.kill()
        job = nodes.job(output)
        under_way(bench, chance, output, job)
        third.start()
        time.sleep(chance.uniform(0, 0.5))
        first.signal(signal.SIGTERM)
        must(first.node.wait(40) == 0, "a node that was told to leave did not")
        time.sleep(chance.uniform(0, 0.3))
        first.start()
        second.signal(signal.SIGTERM)
        nodes.ends(job)
        return 3, [], []


def saturated(bench, chance, output):
    """T39: bulk bytes fill the link, and nobody is given up."""
    with cluster(bench, chance, 2, megabits=20) as nodes:
        nodes.same_files = False
        job = nodes.job(output)
        nodes.ends(job)
        gone = lost.findall(job.log)
        must(not gone, f"given up under load: {gone[:1]}")
        return 1, [], []


def node_killed(bench, chance, output):
    """Of the issue: noticed, and so its tickets in line again, within 200 ms."""
    with cluster(bench, chance, 2, megabits=8) as nodes:
        job, times = nodes.job(output), []
        under_way(bench, chance, output, job)
        victim = chance.choice(nodes.all)
        there = job.runs()
        victim.kill(times)
        victim.start()
        nodes.ends(job)
        seen = noticed(job, times)
        must(seen or not there, "a node was killed, and nobody saw it")
        return len(seen), seen, [at - times[0][0] for at in joined(job, times[0][0])[:1]]


def half_killed(bench, chance, output):
    """T41"""
    with cluster(bench, chance, 4) as nodes:
        job, times = nodes.job(output), []
        under_way(bench, chance, output, job)
        for victim in chance.sample(nodes.all, 2):
            victim.kill(times)
        nodes.ends(job)
        return 2, noticed(job, times), []


def all_killed(bench, chance, output):
    """T42"""
    with cluster(bench, chance, 2) as nodes:
        job, times = nodes.job(output), []
        under_way(bench, chance, output, job)
        for victim in nodes.all:
            victim.kill(times)
        time.sleep(chance.uniform(0, 1))
        began = time.time()
        for victim in nodes.all:
            victim.start()
        nodes.ends(job)
        return 2, noticed(job, times), [at - began for at in joined(job, began)[:1]]


rows = {
    "node: kill -9": node_killed,
    "node: SIGSTOP": silent(*stopped),
    "T24 kill -9 of coordinator": coordinator_killed,
    "T27 coordinator stands still": coordinator_stopped,
    "T28 a slow link": slow_link,
    "T29 a cut that heals soon": silent(*cut, 0.2, 1),
    "T29 a cut that heals late": silent(*cut),
    "T30 heard by nobody": silent(*mute),
    "T31 a link that flaps": flapping,
    "T34 all join at once": storm,
    "T37 join, leave, drain": join_and_leave,
    "T39 a link that is full": saturated,
    "T41 half of them die": half_killed,
    "T42 all die and come back": all_killed,
}
