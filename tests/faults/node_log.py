"""What a job over nodes says of them while it runs, and how soon."""
import re, time

from real_job import must, seconds_of

killed_by, silent_by = 0.2, 3.6 + 0.3 # seconds until a node is given up; 0.3: until the line of it is seen
told_by = 2 # by a node of what happened there, over a link that may be full of bulk bytes

lost = re.compile(r"^(\S+ \S+) warning node (\S+): (.*)$", re.M)
up = re.compile(r"^(\S+ \S+) \S+ node (\S+): up$", re.M)


def noticed(job, times):
    """Seconds from each (moment, node) to the coordinator's line that the node is lost."""
    seen = []
    for at, address in times:
        after = [seconds_of(found[1]) - at for found in lost.finditer(job.log)
                 if found[2] == address and seconds_of(found[1]) >= at - 1e-3]
        if after:
            seen.append(max(0.0, min(after)))
    return seen


def in_time(seen, limit):
    must(max(seen, default=0.0) <= limit, f"a node was given up only after {max(seen, default=0.0):.2f} s")
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


def nobody_lost(job):
    gone = lost.findall(job.log)
    must(not gone, f"given up for nothing: {gone[:1]}")


def same_bytes(job):
    for words in ("other than its lane wrote", "gave different bytes"):
        must(words not in job.log + job.said, f"{words}: {job.log[-600:]}")
