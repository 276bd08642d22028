"""T28: a slow link, a slow way back, a slow process. Rows as in node_rows.py."""
import random, shutil, signal, threading

from machines import cluster
from node_log import nobody_lost
from real_job import must

def slow_link(bench, chance, output):
    """T28: one link has a tenth of the others' rate."""
    with cluster(bench, chance, 3) as nodes:
        nodes.all[0].pace(4)
        job = nodes.job(output)
        nodes.ends(job)
        return 1, [], []


plain = {"secure": False, "lanes": "thread"} # of what is compared in seconds
undisturbed = {} # seconds that two nodes take for the job alone, by their links' rate and the size of shards


def seconds_without(bench, output, megabits, **how):
    which = (megabits, *how.values())
    if which not in undisturbed:
        with cluster(bench, random.Random(0), 2, megabits, **plain) as nodes:
            nodes.same_files = False
            job = nodes.job(output, **how)
            nodes.ends(job)
            shutil.rmtree(output)
            undisturbed[which] = job.report()["seconds"]
    return undisturbed[which]


def in_step(job, without):
    """T28: the third node is of little use, and no harm."""
    took = job.report()["seconds"]
    must(took <= 1.3 * without, f"{took:.1f} s with a slow node, {without:.1f} s without")


def trickling_back(bench, chance, output):
    """T28: what one of three nodes made comes back at a fortieth of the others' rate; whoever made it, too, is not to
    wait for that."""
    large = {"shard": "4096KiB"} # 1 MiB comes back of each: 8 s, and two are in its hand
    without = seconds_without(bench, output, 40, **large)
    with cluster(bench, chance, 3, megabits=40, **plain) as nodes:
        nodes.same_files = False
        chance.choice(nodes.all).pace(1, ("back",))
        job = nodes.job(output, **large)
        nodes.ends(job)
        nobody_lost(job)
        in_step(job, without)
        must(job.report()["copies"] >= 1, "what the slow node had was given to nobody else")
        return 1, [], []


def slow_process(bench, chance, output):
    """T28: one of three nodes is run for a tenth of the time; two are not to wait for it."""
    without = seconds_without(bench, output, 40)
    with cluster(bench, chance, 3, megabits=40, **plain) as nodes:
        nodes.same_files = False
        job, victim = nodes.job(output), chance.choice(nodes.all)
        over, left = threading.Event(), []

        def slow():
            """While some still wait for a lane, and so it has all that it may have, it is stopped for 3 s, which is not
            silent yet; the others are done with the rest before."""
            while not over.is_set() and not left:
                last = bench.done_of(output) > bench.shards * 3 // 4
                victim.signal(signal.SIGSTOP)
                over.wait(3 if last else 0.27)
                left.extend([bench.shards - bench.done_of(output) if job.runs() else 0] if last else [])
                victim.signal(signal.SIGCONT)
                over.wait(0.03)

        thread = threading.Thread(target=slow)
        thread.start()
        try:
            nodes.ends(job)
        finally:
            over.set()
            thread.join()
        nobody_lost(job)
        in_step(job, without)
        others_busy = left and left[0] > bench.shards // 32 # even then: a very slow machine
        must(job.report()["copies"] >= 1 or others_busy, "what the slow node had was given to nobody else")
        return 1, [], []


rows = {
    "T28 a slow link": slow_link,
    "T28 a slow way back": trickling_back,
    "T28 a slow process": slow_process,
}
