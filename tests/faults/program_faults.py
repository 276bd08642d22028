"""Faults of the whole program: killed, told to end, its clock turned, its log read by nobody. Rows as fault_rows.py
explains."""
import os, pathlib, re, shutil, signal, threading, time

from real_job import must, run, seconds_of, wait_gone

lanes_gone_in = 0.25 # seconds; some 2 ms where nothing else runs


def journal_steps(bench, chance, output):
    """T24: the program is killed behind some record of its journal, or some step of giving the name, in the place of an
    older output or not."""
    step = chance.choice([("stop-after", chance.randint(1, bench.shards))] + [("stop-at-naming", n) for n in (1, 2, 3)])
    more = ["--overwrite"] if step[0] == "stop-at-naming" and chance.random() < 0.5 else []
    if more:
        shutil.copytree(bench.small, output)
    job = run(bench, output, "--allow-faults", "--fault", f"{step[0]}={step[1]}", *more)
    job.ends(-signal.SIGKILL)
    return 1, [], [bench.resume(output, bench.journal(output), *more)]


def program_killed(bench, chance, output):
    """T25, T26: its lanes go with it; there is no root above it, so whoever started it starts it again by hand."""
    job, kills = run(bench, output, env=bench.slow(50)), []
    job.wait_for_lanes()
    if chance.random() < 0.5: # then some lane is of the nursery
        job.strike_lane(chance, signal.SIGKILL, [])
    time.sleep(chance.uniform(0.01, max(0.05, bench.seconds)))
    lanes = job.look()
    if job.runs():
        job.strike(job.child.pid, signal.SIGKILL, kills)
    gone = wait_gone(lanes, 5)
    if job.finish() == 0:
        return 0, [], []
    must(gone - kills[0] < lanes_gone_in, f"lanes outlive their program by {gone - kills[0]:.3f} s")
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
    """SIGTERM, as systemd or a batch system sends it. The disk is slow, or a fast machine is done before."""
    luck, _ = bench.bad_luck("slow", 20_000, 0)
    job, times = run(bench, output, env=luck), []
    job.wait_for_lanes()
    time.sleep(chance.uniform(0, bench.seconds / 2))
    job.strike(job.child.pid, signal.SIGTERM, times)
    if job.ends(0, 130) == 0:
        return 0, [], []
    return 1, [job.ended - times[0]], [bench.resume(output, bench.journal(output))]


def clock_jumps(bench, chance, output):
    """T35: the wall clock jumps by an hour, back and forth, twenty times a second; a lane is killed meanwhile, and that
    is all that happens."""
    luck, _ = bench.bad_luck("clock", 0, 0)
    job, kills = run(bench, output, env=luck), []
    job.wait_for_lanes()
    job.strike_lane(chance, signal.SIGKILL, kills)
    job.ends(0, seconds=30)
    stamps = [seconds_of(each) for each in re.findall(r"^(\S+ \S+) info ", job.log, re.M)]
    must(all(abs(abs(at - job.began) - 3600) < 60 for at in stamps), "the clock did not jump")
    must(len(job.downs("^killed: SIGKILL$")) == len(job.downs()) == len(kills), f"one lane was killed: {job.downs()}")
    must(job.report()["restarts"] == len(kills), "the lane that was killed was not started again, or others were")
    return len(kills), [], []


def deaf_consumer(bench, chance, output):
    """T38: nobody reads the log, the disk is slow, and lanes die all the time."""
    reading, writing = os.pipe()
    luck, _ = bench.bad_luck("slow", 20_000, 0)
    job = run(bench, output, "--allow-faults", "--fault", f"throw-every={chance.randint(6, 8)}", "--attempts", 100,
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
    job.said, job.log = job.out.read(), said[0]
    job.check_whole()
    must(job.report()["peak_rss_bytes"] < 250 << 20, "memory grew")
    must(said[0].count("\n") >= job.report()["restarts"] or re.search("dropped|kept from the log", said[0]),
         "reports are missing from the log, and nobody says so")
    return job.lane_deaths(), [], []
