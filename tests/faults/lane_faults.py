"""Faults of lanes: how they die, stand still, or are not to be had. Rows as fault_rows.py explains."""
import contextlib, os, pathlib, resource, signal, time

from real_job import must, run, skipped


def must_strike(known, *shards):
    """Shards that got a strike, whatever became of them later, are these."""
    must(known["ever_struck"] == list(shards), f"shards {known['ever_struck']} have strikes, not {list(shards)}")


def killed(bench, chance, output):
    """T01"""
    job, kills = run(bench, output, env=bench.slow(100)), []
    job.wait_for_lanes()
    for _ in range(chance.randint(3, 6)):
        time.sleep(chance.uniform(0, bench.seconds / 4))
        job.strike_lane(chance, signal.SIGKILL, kills)
    job.ends(0)
    must_strike(job.record())
    return len(kills), *job.all_deaths(kills, "^killed: SIGKILL$")


def signalled(bench, chance, output):
    """T02: as from a bad access, of each kind; SIGBUS not by the source's map."""
    job, kinds, times = run(bench, output, env=bench.slow(100)), ["SEGV", "BUS", "ILL", "FPE"], {}
    job.wait_for_lanes()
    chance.shuffle(kinds)
    for kind in kinds:
        time.sleep(chance.uniform(0, bench.seconds / 8))
        job.strike_lane(chance, signal.Signals[f"SIG{kind}"], times.setdefault(kind, []))
    job.ends(0)
    each = [job.all_deaths(times[kind], f"^crash: SIG{kind}$") for kind in kinds]
    return sum(map(len, times.values())), [s for seen, _ in each for s in seen], [b for _, back in each for b in back]


def stopped(bench, chance, output):
    """T04: one lane sleeps for less than the 5 s that a heart may be still, and lives on; another is killed, and that
    somebody wakes it later changes nothing. One attempt, or another lane would be given a copy of what they have, and
    the job be over before."""
    job, stops = run(bench, output, "--attempts", 1), []
    while job.runs() and len(job.at_work()) < 2:
        time.sleep(0.001)
    lanes = job.at_work()
    if len(lanes) < 2:
        job.ends(0)
        return 0, [], []
    sleeper, lost = chance.sample(lanes, 2)
    job.strike(sleeper, signal.SIGSTOP, [])
    job.strike(lost, signal.SIGSTOP, stops)
    time.sleep(chance.uniform(2, 3.5))
    must({sleeper, lost} <= set(job.look()), "a lane was killed before its heart had stood still for 5 s")
    job.strike(sleeper, signal.SIGCONT, [])
    while job.runs() and lost in job.look() and time.time() < stops[0] + 8:
        time.sleep(0.005)
    must(time.time() >= stops[0] + 4.5, "a lane was killed too early")
    with contextlib.suppress(ProcessLookupError):
        os.kill(lost, signal.SIGCONT)
    job.ends(0)
    must(len(job.downs()) == 1, f"one lane had to die, and these did: {job.downs()}")
    return 1, *job.all_deaths(stops, "^hang: no heartbeat")


def hook(way, words, strikes, times=1):
    """T02, T03, T05, T11 (its own limit): the first run of one shard ends its lane so; whose fault that is shows in
    the strikes."""
    def row(bench, chance, output):
        bad = chance.randint(1, bench.shards)
        job = run(bench, output, "--allow-faults", "--stall-seconds", 1, env={"VIVA_FAULTS": f"{way}-at={bad}"})
        job.ends(0)
        must(job.report()["restarts"] >= 1, "the fault was not put in")
        must(job.report()["retries"] >= 1, "the shard was not run again")
        must(len(job.downs(words)) == 1 == len(job.downs()), f"no report of {words}: {job.downs()}")
        must_strike(job.record(), *([bad - 1] if strikes else []))
        return 1, *job.deaths()
    return row


def terminated_by(kind, words):
    """T03: what ends a lane at work by std::terminate leaves its words."""
    def row(bench, chance, output):
        luck, folder = bench.bad_luck(kind, chance.randint(0, 300))
        job = run(bench, output, env=luck)
        job.ends(0)
        times, struck = bench.fired(folder), job.record()["ever_struck"]
        must(not times or job.report()["retries"] >= 1 == len(struck), f"shards {struck} have strikes")
        return len(times), *job.all_deaths(times, f"^aborted: SIGABRT: bad luck: {words}$")
    return row


def thrown(bench, chance, output):
    """T06: lanes that are threads; the actor dies, the program lives and keeps the words."""
    job = run(bench, output, "--allow-faults", "--fault", f"throw-every={chance.randint(50, 400)}", kind="thread")
    job.ends(0)
    must(job.report()["restarts"] == len(job.downs("^exception: fault put in on purpose")), "an exception's text is lost")
    return job.report()["restarts"], *job.deaths()


def storm(bench, chance, output):
    """T07: each ticket throws. The job gives up in order, the log stays bounded, and all can be had later."""
    job = run(bench, output, "--allow-faults", "--fault", "throw-every=1", kind="thread")
    job.ends(1, seconds=30)
    lines = job.log.count("\n")
    must(lines < 600 * (2 + job.ended - job.began), f"{lines} lines of log")
    back = bench.resume(output, bench.journal(output), "--retry-quarantined")
    return job.log.count("child_terminated"), job.deaths()[0], [back]


def never_starts(bench, chance, output):
    """T08: the system gives no process. At first none at all: starts are tried again, then the job ends and says why.
    Then none for a while, when all lanes are dead: they are tried again ever more slowly, and the wait costs nothing."""
    first = pathlib.Path(f"{output}-first")
    luck, folder = bench.bad_luck("spawn", 0, 400)
    job = run(bench, first, env=luck)
    job.ends(1, seconds=30)
    times = bench.fired(folder)
    must("Resource temporarily unavailable" in job.log + job.said, "nobody says why")
    must(len(times) >= 10 and times[-1] - times[0] > 0.1, f"{len(times)} tries within {times[-1] - times[0]:.3f} s")
    back = [bench.resume(first, bench.journal(first))]

    luck, folder = bench.bad_luck("spawn", 2, tries := 300) # both lanes come up
    job = run(bench, output, env=luck)
    job.wait_for_lanes()
    for lane in job.look():
        job.strike(lane, signal.SIGKILL, [])
    at = time.time()

    def until(tried):
        while job.runs() and len(bench.fired(folder)) < tried:
            time.sleep(0.01)
        return time.time(), job.cpu_seconds()

    slow, used = until(tries // 3) # behind the first, which follow each other soon
    end, used = (seconds - before for seconds, before in zip(until(tries), (0, used)))
    job.ends(0)
    if len(bench.fired(folder)) < tries: # the lanes had nothing left to do
        return 0, [], []
    must(job.report()["restarts"] >= 2 and end - at > 0.5, f"lanes that may not start are tried for {end - at:.3f} s")
    must(used < 0.08 * (end - slow), f"{used:.3f} s of processor in {end - slow:.3f} s of waiting")
    return len(times) + len(bench.fired(folder)), [job.ended - job.began], back


def poison(bench, chance, output):
    """T09, T10: as many lanes as may, and the isolation lane, die on one shard; nobody else's suffers."""
    bad, attempts = chance.randint(1, bench.shards), 2 + bench.seed % 2
    job = run(bench, output, "--attempts", attempts, "--allow-faults", "--fault", f"poison={bad}")
    job.ends(1)
    known = bench.journal(output, attempts)
    must(known is not None and known["quarantined"] == [bad - 1], f"quarantine holds {known}")
    must(known["done"] == bench.shards - 1, "an innocent shard was not done")
    must_strike(known, bad - 1)
    must(len(job.downs()) == attempts + 1, f"{len(job.downs())} lanes died")
    seen, back = job.deaths()
    return attempts + 1, seen, back + [bench.resume(output, known, "--retry-quarantined", "--attempts", attempts)]


def make_group(controller, files):
    """A control group of ours, of version 1 or 2, and that of these files which sets its limit."""
    for line in open("/proc/self/cgroup").read().splitlines():
        _, names, path = line.split(":", 2)
        if names not in ("", controller):
            continue
        root = "/sys/fs/cgroup" if names == "" else f"/sys/fs/cgroup/{controller}"
        group = pathlib.Path(root + path) / f"viva-faults-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            for limit in (group / each for each in files if (group / each).exists()):
                return group, limit
            group.rmdir()
    raise skipped(f"no control group may limit {controller} here")


@contextlib.contextmanager
def control_group(controller, *files):
    """Gives a way into the group, to be taken by a program that starts, and the file of its limit."""
    group, limit = make_group(controller, files)
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid())), limit
    finally:
        for _ in range(200): # until the system has buried the last of it
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.01)


def out_of_memory(bench, chance, output):
    """T11: a lane takes more than the group of program and lanes may have; the system kills it, not the program."""
    with control_group("memory", "memory.max", "memory.limit_in_bytes") as (enter, limit):
        limit.write_text(str(256 << 20))
        luck, folder = bench.bad_luck("hoard", chance.randint(500, 5000))
        job = run(bench, output, env=luck, before=enter)
        job.ends(0)
        times = bench.fired(folder)
        return len(times), *job.all_deaths(times, "^(out of memory|oom)")


def no_allocation(bench, chance, output):
    """T12: the i-th allocation of a lane fails: one i after the other over the seeds, and one far out; it may be that of
    the nursery, whose end costs nobody."""
    each_seed, times, seen, back = 4, 0, [], []
    for i in [*range(each_seed * (bench.seed - 1), each_seed * bench.seed), int(10 ** chance.uniform(1, 4.5))]:
        luck, folder = bench.bad_luck("memory", i, chance.randint(1, 3))
        job = run(bench, f"{output}-{i}", source=bench.small, env=luck)
        job.ends(0)
        fired = bench.fired(folder)
        heard = job.deaths(fired)
        times, seen, back = times + len(fired), seen + heard[0], back + heard[1]
    run(bench, output).ends(0)
    return times, seen, back


def no_memory_at_all(bench, chance, output):
    """T12: the same of the program itself, which may end at any allocation, and says so; the rest is done later."""
    each_seed, times = 4, 0
    for i in [*range(each_seed * (bench.seed - 1), each_seed * bench.seed), int(10 ** chance.uniform(2, 4.2))]:
        where = pathlib.Path(f"{output}-{i}")
        luck, folder = bench.bad_luck("program-memory", i)
        job = run(bench, where, source=bench.small, env=luck)
        code = job.ends(0, 1)
        times += len(bench.fired(folder))
        must(code == 0 or "gives no more memory" in job.said + job.log, "nobody says that memory was short")
        bench.resume(where, bench.journal(where, source=bench.small), source=bench.small)
    run(bench, output).ends(0)
    return times, [], []


def kill_all(job, times):
    """Gives how many; `times` are of those at work. The nursery's end nobody reports, and the spare's if it was not
    taken first."""
    known, all_of = job.at_work(), job.look()
    for lane in all_of:
        job.strike(lane, signal.SIGKILL, times if lane in known else [])
    return len(all_of)


def no_descriptors(bench, chance, output):
    """T40: no descriptor is left while lanes die; then there are some again."""
    job, kills = run(bench, output, env=bench.slow(200)), []
    job.wait_for_lanes()
    pid = job.child.pid
    with contextlib.suppress(ProcessLookupError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, hard))
        struck = kill_all(job, kills)
        time.sleep(chance.uniform(0.05, 0.5))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    job.ends(0, seconds=30)
    must("Too many open files" in job.log, "nobody says what is short")
    return struck, *job.all_deaths(kills, "^killed: SIGKILL$")


@contextlib.contextmanager
def process_limit():
    """Gives what a program does before it starts, and how to let it have no more processes and threads, or as many as
    it wants."""
    if os.geteuid() != 0: # whom this limit does not hold
        yield None, lambda job, on: resource.prlimit(job.child.pid, resource.RLIMIT_NPROC,
                                                     (1 if on else resource.prlimit(0, resource.RLIMIT_NPROC)[0],
                                                      resource.prlimit(0, resource.RLIMIT_NPROC)[1]))
        return
    with control_group("pids", "pids.max") as (enter, limit):
        yield enter, lambda job, on: limit.write_text("1" if on else "max")


def no_more_threads(bench, chance, output):
    """T40: neither a process nor a thread more is allowed while lanes die; then there are some again."""
    with process_limit() as (enter, allow_none):
        job, kills, struck = run(bench, output, env=bench.slow(200), before=enter), [], 0
        job.wait_for_lanes()
        if job.runs():
            allow_none(job, True)
            struck = kill_all(job, kills)
            time.sleep(chance.uniform(0.05, 0.5))
            allow_none(job, False)
        job.ends(0, seconds=30)
    must(not kills or "Resource temporarily unavailable" in job.log, "nobody says what is short")
    return struck, *job.all_deaths(kills, "^killed: SIGKILL$")


def no_processes(bench, chance, output):
    """T40: the system gives no process for a while."""
    luck, folder = bench.bad_luck("spawn", chance.randint(0, 3), chance.randint(1, 15))
    job, kills = run(bench, output, env=luck), []
    job.wait_for_lanes()
    struck = kill_all(job, kills)
    job.ends(0, seconds=30)
    met = len(bench.fired(folder))
    return met and met + struck, *job.all_deaths(kills, "^killed: SIGKILL$")
