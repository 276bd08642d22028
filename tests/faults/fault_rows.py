"""The faults of the matrix. Each row puts its fault in at a place or time that `chance` picks, brings the job to its
end, checks what it can, and gives (times put in, seconds to the report of each, seconds until the work went on).

T numbers are those of the fault matrix that tests/README.md explains."""
import contextlib, os, pathlib, re, resource, shutil, signal, subprocess, threading, time

from real_job import digest, must, run, skipped, wait_gone


def killed(bench, chance, output):
    """T01"""
    job, kills = run(bench, output), []
    job.wait_for_lanes()
    for _ in range(chance.randint(1, 4)):
        time.sleep(chance.uniform(0, bench.seconds / 2))
        if lanes := job.at_work():
            job.strike(chance.choice(lanes), signal.SIGKILL, kills)
    job.ends(0)
    return len(kills), *job.deaths(kills)


def signalled(bench, chance, output):
    """T02: as from a bad access; SIGBUS not by the source's map."""
    job, kills = run(bench, output), []
    job.wait_for_lanes()
    time.sleep(chance.uniform(0, bench.seconds / 2))
    number = chance.choice([signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE])
    if lanes := job.at_work():
        job.strike(chance.choice(lanes), number, kills)
    job.ends(0)
    seen, back = job.deaths(kills)
    must(not seen or number.name in job.log, f"no report names {number.name}")
    return len(kills), seen, back


def stopped(bench, chance, output):
    """T04: no heartbeat, killed after 5 s; that it would go on later changes nothing. One attempt, or another lane
    would be given a copy of what it has, and the job be over before."""
    job, stops = run(bench, output, "--attempts", 1), []
    job.wait_for_lanes()
    time.sleep(chance.uniform(0, bench.seconds / 4))
    if lanes := job.at_work():
        job.strike(chance.choice(lanes), signal.SIGSTOP, stops)
    job.ends(0)
    seen, back = job.deaths(stops)
    must(len(seen) == 1 and "no heartbeat" in job.log, "a lane that stands still was not found")
    return 1, seen, back


def hook(way, words):
    """T02, T03, T05, T11 (its own limit): the first run of one shard ends its lane so."""
    def row(bench, chance, output):
        job = run(bench, output, "--allow-faults", "--stall-seconds", 1,
                  env={"VIVA_FAULTS": f"{way}-at={chance.randint(1, bench.shards)}"})
        job.ends(0)
        must(job.report()["restarts"] >= 1, "the fault was not put in")
        must(re.search(words, job.log), f"no report of {words}")
        return 1, *job.deaths()
    return row


def thrown(bench, chance, output):
    """T06: lanes that are threads; the actor dies, the program lives and keeps the words."""
    job = run(bench, output, "--allow-faults", "--fault", f"throw-every={chance.randint(50, 400)}", kind="thread")
    job.ends(0)
    must("fault put in on purpose" in job.log, "the exception's text is lost")
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
    """T08: the system gives no process, for longer than starts are tried again."""
    luck, folder = bench.bad_luck("spawn", chance.randint(0, 2), 400)
    job = run(bench, output, env=luck)
    code = job.ends(0, 1, seconds=30)
    times = bench.fired(folder)
    if code == 1:
        must("Resource temporarily unavailable" in job.log + job.said, "nobody says why")
        return len(times), [job.ended - times[0]], [bench.resume(output, bench.journal(output))]
    return len(times), [], []


def poison(bench, chance, output):
    """T09, T10: three lanes and the isolation lane die on one shard; nobody else's suffers."""
    bad = chance.randint(1, bench.shards)
    job = run(bench, output, "--attempts", 2, "--allow-faults", "--fault", f"poison={bad}")
    job.ends(1)
    known = bench.journal(output, 2)
    must(known is not None and known["quarantined"] == [bad - 1], f"quarantine holds {known}")
    must(known["done"] == bench.shards - 1, "an innocent shard was not done")
    seen, back = job.deaths()
    return 3, seen, back + [bench.resume(output, known, "--retry-quarantined", "--attempts", 2)]


def memory_group():
    """A control group of ours whose memory can be limited, of version 1 or 2; its file for that."""
    for line in open("/proc/self/cgroup").read().splitlines():
        _, names, path = line.split(":", 2)
        root, limit = ("/sys/fs/cgroup", "memory.max") if names == "" else ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        if names not in ("", "memory"):
            continue
        group = pathlib.Path(root + path) / f"viva-faults-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            if (group / limit).exists():
                return group, group / limit
            group.rmdir()
    raise skipped("no control group may limit memory here")


def out_of_memory(bench, chance, output):
    """T11: a lane takes more than the group of program and lanes may have; the system kills it, not the program."""
    group, limit = memory_group()
    try:
        limit.write_text(str(256 << 20))
        luck, folder = bench.bad_luck("hoard", chance.randint(500, 5000))
        job = run(bench, output, env=luck, before=lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
        job.ends(0)
        times = bench.fired(folder)
        seen, back = job.deaths(times)
        must(len(seen) == len(times), "a lane that takes too much was not killed")
        must(not seen or re.search('child_terminated.*reason="(out of memory|oom)', job.log), "a kill for memory is not told as one")
        return len(times), seen, back
    finally:
        for _ in range(200): # until the system has buried the last of it
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.01)


def no_allocation(bench, chance, output):
    """T12: some allocation of a lane fails, wherever it is, a few times."""
    luck, folder = bench.bad_luck("memory", int(10 ** chance.uniform(0, 4.5)), chance.randint(1, 3))
    job = run(bench, output, env=luck)
    job.ends(0)
    times = bench.fired(folder)
    return len(times), *job.deaths(times)


def full(bench, chance, output):
    """T13: too small at first; then filled while the job runs."""
    if os.geteuid() != 0:
        raise skipped("only root may mount a small file system")
    disk = pathlib.Path(f"{output}-disk")
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], check=True)
    try:
        job = run(bench, disk / "out")
        job.ends(5)
        subprocess.run(["mount", "-o", f"remount,size={int(1.2 * bench.bytes)}", disk], check=True)
        job = run(bench, disk / "out")
        time.sleep(chance.uniform(0, 0.1 + bench.seconds))
        with contextlib.suppress(OSError), open(disk / "ballast", "wb", buffering=0) as ballast:
            while job.runs() and ballast.write(b"x" * (1 << 20)):
                job.look()
        code = job.ends(0, 5)
        (disk / "ballast").unlink()
        back = [bench.resume(disk / "out", bench.journal(disk / "out"))] if code == 5 else []
        shutil.copytree(disk / "out", output)
        return 2, [], back
    finally:
        subprocess.run(["umount", disk], check=True)


def failing_disk(kind, codes):
    """T14, T15: one write or sync of the journal or the output fails. Nothing is committed after it."""
    def row(bench, chance, output):
        luck, folder = bench.bad_luck(kind, chance.randint(0, 60 if kind == "output-write" else 3))
        job = run(bench, output, env=luck)
        code = job.ends(0, *codes)
        times = bench.fired(folder)
        must((code != 0) == (len(times) > 0), f"{len(times)} calls failed, and the job ended with {code}")
        if not times:
            return 0, [], []
        known = bench.journal(output)
        return 1, [job.ended - times[0]], [bench.resume(output, known)]
    return row


def damaged_source(bench, chance, output):
    """T16, T17, T19: a source that is cut, flipped or not finite is refused, or read as threads read it."""
    copy = pathlib.Path(f"{output}-source")
    shutil.copytree(bench.small, copy)
    file = sorted(copy.glob("*.safetensors"))[0]
    data = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    way = chance.choice(["cut", "flip", "infinite"])
    if way == "cut":
        del data[chance.randrange(len(data)):]
    elif way == "flip":
        data[chance.randrange(header)] ^= 1 << chance.randrange(8)
    else: # where it lies in a tensor that is copied, nobody minds
        at = header + 2 * chance.randrange((len(data) - header) // 2)
        data[at:at + 2] = b"\x80\x7f"
    file.write_bytes(data)
    at = time.time()
    both = [pathlib.Path(f"{output}-{kind}") for kind in ("thread", "process")]
    codes = [run(bench, each, source=copy, kind=kind).ends(0, 2, 3)
             for each, kind in zip(both, ("thread", "process"))]
    took = (time.time() - at) / 2
    must(codes[0] == codes[1] and (way != "cut" or codes[0] == 3), f"threads and processes end with {codes}")
    must([each.exists() for each in both] == [code == 0 for code in codes], "a refused source left an output")
    must(codes[0] != 0 or digest(both[0]) == digest(both[1]), "threads and processes write other bytes")
    run(bench, output).ends(0)
    return 1, [took], []


def changed_source(bench, chance, output):
    """T18: the source changes while the job runs. Process lanes see it when one starts anew, after one stood still for
    a second; thread lanes leave it to the end, which slow syncs hold up."""
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
    run(bench, output).ends(0)
    return 2, took, []


def journal_steps(bench, chance, output):
    """T24: the program is killed behind some record of its journal, or some step of giving the name."""
    step = chance.choice([("stop-after", chance.randint(1, bench.shards))] + [("stop-at-naming", n) for n in (1, 2, 3)])
    job = run(bench, output, "--allow-faults", "--fault", f"{step[0]}={step[1]}")
    job.ends(-signal.SIGKILL)
    return 1, [], [bench.resume(output, bench.journal(output))]


def program_killed(bench, chance, output):
    """T25, T26: its lanes go with it; there is no root above it, whoever started it starts it again."""
    job, kills = run(bench, output), []
    if chance.random() < 0.5: # then some lane is of the nursery
        job.wait_for_lanes()
        for lane in job.at_work()[:1]:
            job.strike(lane, signal.SIGKILL, [])
    time.sleep(chance.uniform(0.01, max(0.05, bench.seconds)))
    lanes = job.look()
    if job.runs():
        job.strike(job.child.pid, signal.SIGKILL, kills)
    gone = wait_gone(lanes, 5)
    if job.finish() == 0:
        return 0, [], []
    return 1, [gone - kills[0]], [bench.resume(output, bench.journal(output))]


def all_killed(bench, chance, output):
    """T24, T25: the program and its lanes, in any order."""
    job = run(bench, output)
    time.sleep(chance.uniform(0.01, max(0.05, bench.seconds)))
    lanes = job.look()
    for pid in chance.sample([job.child.pid, *lanes], 1 + len(lanes)):
        job.strike(pid, signal.SIGKILL, [])
    if job.finish() == 0:
        return 0, [], []
    return 1, [], [bench.resume(output, bench.journal(output))]


def terminated(bench, chance, output):
    """SIGTERM, as systemd or a batch system sends it."""
    job, times = run(bench, output), []
    job.wait_for_lanes()
    time.sleep(chance.uniform(0, bench.seconds / 2))
    job.strike(job.child.pid, signal.SIGTERM, times)
    if job.ends(0, 130) == 0:
        return 0, [], []
    return 1, [job.ended - times[0]], [bench.resume(output, bench.journal(output))]


def clock_jumps(bench, chance, output):
    """T35: the wall clock jumps by an hour, back and forth, twenty times a second; a lane is killed meanwhile."""
    luck, _ = bench.bad_luck("clock", 0, 0)
    job, kills = run(bench, output, env=luck), []
    job.wait_for_lanes()
    if lanes := job.at_work():
        job.strike(chance.choice(lanes), signal.SIGKILL, kills)
    job.ends(0, seconds=30)
    return 1, [], []


def deaf_consumer(bench, chance, output):
    """T38: nobody reads the log, the disk is slow, and lanes die all the time."""
    reading, writing = os.pipe()
    luck, _ = bench.bad_luck("slow", 20_000, 0)
    job = run(bench, output, "--allow-faults", "--fault", f"throw-every={chance.randint(3, 4)}", "--attempts", 100,
              env=luck, kind="thread", err=os.fdopen(writing, "w"))
    job.err.close()
    end, status = time.monotonic() + 60, pathlib.Path(f"{output}")
    while job.runs() and not status.exists() and time.monotonic() < end:
        time.sleep(0.01)
    must(status.exists(), "a log that nobody reads stops the job")
    said = []
    reader = threading.Thread(target=lambda: said.append(os.fdopen(reading).read()))
    reader.start()
    while job.runs() and time.monotonic() < end:
        time.sleep(0.01)
    must(not job.runs(), "the job did not end")
    reader.join()
    must(job.child.returncode == 0, f"ended with {job.child.returncode}: {said[0][-500:]}")
    job.out.seek(0)
    job.said = job.out.read()
    must(job.report()["peak_rss_bytes"] < 250 << 20, "memory grew")
    must(said[0].count("\n") >= job.report()["restarts"] or re.search("dropped|kept from the log", said[0]),
         "reports are missing from the log, and nobody says so")
    return 1, [], []


def no_descriptors(bench, chance, output):
    """T40: no descriptor is left while lanes die; then there are some again."""
    job, kills = run(bench, output, "--allow-faults", "--fault", f"hang-at={bench.shards}", "--stall-seconds", 2), []
    job.wait_for_lanes()
    pid = job.child.pid
    with contextlib.suppress(ProcessLookupError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, hard))
        known = job.at_work()
        for lane in job.look(): # the spare, too
            job.strike(lane, signal.SIGKILL, kills if lane in known else [])
        time.sleep(chance.uniform(0.05, 0.5))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    job.ends(0, seconds=30)
    must("Too many open files" in job.log, "nobody says what is short")
    return len(kills), *job.deaths(kills)


def no_processes(bench, chance, output):
    """T40: the system gives no process for a while."""
    luck, folder = bench.bad_luck("spawn", chance.randint(0, 3), chance.randint(1, 15))
    job, kills = run(bench, output, env=luck), []
    job.wait_for_lanes()
    for lane in job.at_work():
        job.strike(lane, signal.SIGKILL, kills)
    job.ends(0, seconds=30)
    return len(bench.fired(folder)), *job.deaths(kills)


rows = {
    "T01 kill -9 of lanes": killed,
    "T02 SIGSEGV BUS ILL FPE": signalled,
    "T02 crash at work": hook("crash", "SIGSEGV"),
    "T03 abort": hook("abort", "SIGABRT"),
    "T04 SIGSTOP": stopped,
    "T05 work stands still": hook("hang", "no progress"),
    "T06 exception (threads)": thrown,
    "T07 storm of exceptions": storm,
    "T08 no start succeeds": never_starts,
    "T09 T10 poison shard": poison,
    "T11 killed for memory": out_of_memory,
    "T11 own limit of memory": hook("oom", "exit 76|bad_alloc"),
    "T12 allocation fails": no_allocation,
    "T13 full disk": full,
    "T14 journal: ENOSPC": failing_disk("journal-write", [5]),
    "T15 journal: EIO of sync": failing_disk("journal-sync", [5]),
    "T15 output: EIO of sync": failing_disk("output-sync", [5]),
    "T15 output: EIO of write": failing_disk("output-write", [5]),
    "T16 T17 T19 damaged source": damaged_source,
    "T18 source changes": changed_source,
    "T24 journal's steps": journal_steps,
    "T24 kill -9 of all": all_killed,
    "T25 kill -9 of program": program_killed,
    "T35 clock jumps": clock_jumps,
    "T38 deaf consumer": deaf_consumer,
    "T40 no descriptors": no_descriptors,
    "T40 no processes": no_processes,
    "lane speaks nonsense": hook("garbage", "protocol|not a frame"),
    "lane ends with exit 74": hook("exit", "exit 74"),
    "SIGTERM": terminated,
}
