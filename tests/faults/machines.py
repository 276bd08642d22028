"""Machines of one job: each node in a network namespace of its own, the coordinator in one that has a link to each.

Links are slow (tbf), or a job would be over before a link has been down for long. Needs root and iproute2. As the seed
has it all show certificates of `viva certs`, as they must on such addresses, or nobody does; and lanes of nodes are
threads or processes."""
import contextlib, json, os, pathlib, shutil, signal, subprocess, tempfile, time

from real_job import broken, children_of, is_lane, must, run, skipped, wait_gone


def ip(*words, otherwise=skipped):
    """`otherwise`: what it is where the system refuses; once a cluster stands, that is a fault that was not put in."""
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        raise otherwise(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")


class bad_network:
    """The three ports of a node, on the hub's loopback, behind tests/support/proxy_program.cpp."""

    def __init__(self, hub, program, host, port):
        must(program.exists(), f"build {program.name}")
        self.child = subprocess.Popen(["ip", "netns", "exec", hub, program, host, str(port)], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        must(self.child.stdout.readline() == "ready\n", "the bad network did not start")

    def tell(self, command):
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()
        must(self.child.stdout.readline() == "ok\n", f"the bad network does not know {command}")

    def close(self):
        self.child.stdin.close()
        self.child.wait()
        self.child.stdout.close()


class machine:
    """A namespace with one node in it."""

    def __init__(self, owner, number):
        self.owner, self.number = owner, number
        self.space, self.here, self.there = f"{owner.name}-{number}", f"10.99.{number}.1", f"10.99.{number}.2"
        self.port = 4242 + 10 * number
        self.listens = self.address = f"{self.there}:{self.port}"
        self.node = self.network = None
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

    def pace(self, megabits, ways=("there", "back")):
        links = {"there": (self.owner.hub, self.link), "back": (self.space, "out")}
        for space, link in (links[way] for way in ways):
            done = subprocess.run(["tc", "-n", space, "qdisc", "replace", "dev", link, "root", "tbf", "rate",
                                   f"{megabits}mbit", "burst", "64kb", "latency", "400ms"], capture_output=True, text=True)
            if done.returncode != 0:
                raise (broken if self.owner.stands else skipped)(f"tc: {done.stderr.strip()}")

    def goes_wrong(self):
        """From now on jobs reach it over a bad network, which `bad` tells what to do."""
        program = self.owner.bench.checker.with_name("viva_bad_network")
        self.network = bad_network(self.owner.hub, program, self.there, self.port)
        self.address = f"127.0.0.1:{self.port}"

    def bad(self, *commands):
        for each in commands:
            self.network.tell(each)

    def start(self, *more, env=None):
        self.said = tempfile.TemporaryFile("w+")
        owner = self.owner
        words = ["ip", "netns", "exec", self.space, owner.bench.viva, "node", "--listen", self.listens,
                 *owner.access(f"node-{self.number}"), "--lanes", "1", "--isolation", owner.lanes, "--roots",
                 owner.bench.place, "--scratch", self.scratch, "--json", *more]
        self.node = subprocess.Popen(list(map(str, words)), stdout=self.said, stderr=subprocess.DEVNULL,
                                     start_new_session=True, env=os.environ | (env or {}))
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

    def lanes(self):
        """Processes of it that are lanes, or become some."""
        return [pid for pid in children_of(self.node.pid) if is_lane(pid)]

    def lanes_at_work(self):
        """Those that have files of a job open: its own, or copies of them."""
        found = []
        for pid in self.lanes():
            with contextlib.suppress(OSError):
                if str(self.owner.bench.place) in open(f"/proc/{pid}/maps").read():
                    found.append(pid)
        return found

    def signal_all(self, number):
        """Lanes, too, whose processes are their own."""
        for pid in [self.node.pid, *self.lanes()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, times=None):
        lanes = self.lanes()
        self.signal(signal.SIGKILL, times)
        self.node.wait()
        wait_gone(lanes, 5)

    def cable(self, state):
        ip("-n", self.owner.hub, "link", "set", self.link, state, otherwise=broken)

    def mute(self, whether):
        """It hears, and is not heard."""
        ip("-n", self.space, "route", "add" if whether else "del", "blackhole", self.here, otherwise=broken)


class cluster:
    def __init__(self, bench, chance, count, megabits=40, secure=None, lanes=None):
        """`secure`, and `lanes` (thread, process), as the dice have it unless they are said."""
        if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
            raise skipped("needs root, ip and tc")
        self.bench, self.spaces, self.stands = bench, [], False
        self.name = f"viva{os.getpid()}"
        self.hub = f"{self.name}-hub"
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="nodes-", dir=bench.place))
        self.same_files = chance.random() < 0.5
        self.secure = chance.random() < 0.5 if secure is None else secure
        self.lanes = chance.choice(["thread", "process"]) if lanes is None else lanes
        bench.ground = f" ({'TLS' if self.secure else 'insecure'}, lanes: {self.lanes})"
        self.all = []
        try:
            if self.secure:
                subprocess.run([bench.viva, "certs", self.place / "certs", "coordinator",
                                *(f"node-{number}" for number in range(count))], check=True, stdout=subprocess.DEVNULL)
            ip("netns", "add", self.hub)
            self.spaces.append(self.hub)
            ip("-n", self.hub, "link", "set", "lo", "up")
            for number in range(count):
                self.all.append(machine(self, number))
                self.all[-1].pace(megabits)
                self.all[-1].start()
            self.stands = True
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, problem, *_):
        lanes = [pid for each in self.all for pid in each.lanes()]
        self.close()
        if problem is None:
            wait_gone(lanes, 5)

    def close(self):
        for each in self.all:
            if each.node and each.node.poll() is None:
                each.node.kill()
                each.node.wait()
            if each.network:
                each.network.close()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)
        shutil.rmtree(self.place, ignore_errors=True)

    def inside(self, *words):
        return ["ip", "netns", "exec", self.hub, *words]

    def access(self, member):
        return ["--tls", self.place / "certs" / member] if self.secure else ["--insecure"]

    def nodes(self):
        return ["--nodes", ",".join(each.address for each in self.all), *self.access("coordinator")]

    def seen(self):
        """What each node says of itself."""
        said = subprocess.run(self.inside(self.bench.viva, "nodes", *self.nodes(), "--json"), capture_output=True,
                              text=True)
        return {each["address"]: each for each in json.loads(said.stdout)["nodes"]}

    def flags(self):
        return [*self.nodes(), *(["--shared-fs"] if self.same_files else [])]

    def job(self, output, *more, **how):
        return run(self.bench, output, *self.flags(), *more, lanes=0, kind="thread", inside=self.inside(), **how)

    def ends(self, job, seconds=180):
        job.ends(0, seconds=seconds)
        self.is_tidy()

    def is_tidy(self):
        end = time.monotonic() + 20
        while left := [each for one in self.all if one.node.poll() is None for each in one.scratch.glob("node-*/job-*")]:
            must(time.monotonic() < end, f"a node keeps {left}")
            time.sleep(0.05)
