"""Faults between machines (machines.py). Rows as in fault_rows.py. Every other job sees the same files on all machines,
the rest none. With certificates in seeds of odd numbers: a node killed, silent, cut off, and the coordinator killed; what
else has them, and whose lanes are processes, is by dice, which differ from seed to seed."""
import json, os, signal, time

import node_slow_rows
from lane_faults import must_strike
from machines import cluster
from node_log import (in_time, joined, killed_by, lasts, lost, nobody_lost, noticed, same_bytes, silent_by, told_by,
                      under_way, up)
from real_job import must


def odd(bench):
    return bench.seed % 2 == 1


def coordinator_stopped(bench, chance, output):
    """T27: nobody is given up for that, where others do not give the stopped one up (after 10 s without a beat of CAF)."""
    with cluster(bench, chance, 2, megabits=8) as nodes:
        job = nodes.job(output)
        under_way(bench, chance, output, job)
        seconds = chance.uniform(2, 12)
        job.child.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        job.child.send_signal(signal.SIGCONT)
        nodes.ends(job)
        if seconds < 8:
            nobody_lost(job)
        return 1, [], []


def coordinator_killed(bench, chance, output):
    """T24 over nodes: the same command computes nothing durable again."""
    with cluster(bench, chance, 2, megabits=8, secure=odd(bench)) as nodes:
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


def old_token(bench, chance, output):
    """T29: given up while it lives and answers; what it said then comes later, and is not believed."""
    with cluster(bench, chance, 2, megabits=16) as nodes:
        nodes.same_files = False
        victim = chance.choice(nodes.all)
        victim.goes_wrong()
        job, times = nodes.job(output), []
        under_way(bench, chance, output, job)
        victim.bad("control back hold")
        time.sleep(0.5)
        times.append((time.time(), victim.address))
        victim.bad("life there hold", "life back hold")
        lasts(job, 4.5)
        lives = job.runs()
        victim.bad("life there forward", "life back forward", "control back forward")
        nodes.ends(job)
        seen = in_time(noticed(job, times), silent_by)
        must(seen or not lives, "a node that says nothing was not found")
        must(not lives or "of an earlier meeting" in job.log, "nothing of before came after")
        return len(seen), seen, []


def unsynced(bench, chance, output):
    """T15: one node cannot sync what its lanes wrote into shared files. It is let go, nothing of that is committed, and the
    other does it."""
    with cluster(bench, chance, 2) as nodes:
        nodes.same_files = True
        victim = chance.choice(nodes.all)
        luck, folder = bench.bad_luck("output-sync", chance.randint(0, 20))
        victim.kill()
        victim.start(env=luck)
        job = nodes.job(output)
        nodes.ends(job)
        times = bench.fired(folder)
        seen = noticed(job, [(at, victim.address) for at in times])
        must(len(seen) == len(times), "a sync failed, and its node was believed")
        return len(times), seen, []


def bad_messages(bench, chance, output):
    """T32: control that is late by seconds (CAF gives up after 10); bulk bytes that come twice, or not at all."""
    with cluster(bench, chance, 2, megabits=16) as nodes:
        nodes.same_files = False
        for each in nodes.all:
            each.goes_wrong()
        job, met = nodes.job(output), 0
        under_way(bench, chance, output, job)
        for what in chance.sample(["late", "twice", "drop"], 3):
            victim, way = chance.choice(nodes.all), chance.choice(["there", "back"])
            met += job.runs()
            if what == "late":
                victim.bad(f"control delay {chance.randint(1000, 3000)}")
                time.sleep(chance.uniform(1, 3))
                victim.bad("control delay 0")
            else:
                victim.bad(f"bulk {way} {what}")
                time.sleep(chance.uniform(0.05, 0.5))
                victim.bad(f"bulk {way} forward")
        nodes.ends(job)
        same_bytes(job)
        return met, [], []


def lost_receipts(bench, chance, output):
    """T33: what was done is told, and nobody hears it: the connection ends before."""
    with cluster(bench, chance, 2, megabits=8) as nodes:
        nodes.same_files = False
        victim = chance.choice(nodes.all)
        victim.goes_wrong()
        job = nodes.job(output)
        under_way(bench, chance, output, job)
        there = job.runs()
        victim.bad("control back hold")
        time.sleep(1)
        lives = job.runs()
        victim.bad("control cut")
        time.sleep(0.05)
        victim.bad("control back forward")
        nodes.ends(job)
        must(not lives or any(each[1] == victim.address for each in lost.findall(job.log)),
             "a connection was cut, and nobody saw it")
        same_bytes(job)
        return int(there), [], []


def other_build(bench, chance, output):
    """T36: one node computes other bytes, by what its kernels make of the matrix that all are asked for."""
    with cluster(bench, chance, 3) as nodes:
        liar = chance.choice(nodes.all)
        words = nodes.seen()[liar.address]["build"]
        at = max(i for i, letter in enumerate(words[:words.rindex(", letters")]) if letter.isalnum())
        digit = chance.choice([each for each in "0123456789abcdef" if each != words[at]])
        liar.kill()
        liar.start("--allow-faults", "--claim-build", words[:at] + digit + words[at + 1:])
        job = nodes.job(output)
        nodes.ends(job)
        must(f"node {liar.address}: it is another build" in job.log
             or f"node {liar.address}: this node is another build" in job.log, "another build was not refused")
        lanes = {each["id"] for each in json.loads(job.said)["lanes"]}
        must(lanes and not any(each.startswith(liar.address) for each in lanes), f"another build worked: {lanes}")
        return 1, [], []


def silent(begin, end, seconds_from=4, seconds_to=6, secure=lambda bench: None):
    """Some node falls silent for so long; where that is longer than 3.6 s, it must be found, where not, not."""
    def row(bench, chance, output):
        with cluster(bench, chance, 3, megabits=8, secure=secure(bench)) as nodes:
            if seconds_from > 3.6:
                nodes.same_files = False  # over before anybody could be found silent, else
            job, times = nodes.job(output), []
            under_way(bench, chance, output, job)
            victim = chance.choice(nodes.all)
            times.append((time.time(), victim.address))
            begin(victim)
            long = lasts(job, chance.uniform(seconds_from, seconds_to))
            end(victim)
            nodes.ends(job)
            seen = in_time(noticed(job, times), silent_by)
            must(seen or not long, "a node that says nothing was not found")
            if seconds_to < 3.4:
                nobody_lost(job)
            return len(seen) if seconds_from > 3.6 else 1, seen, []
    return row


# T29, T30, and a node that stands still: what it does later changes nothing.
cut = (lambda node: node.cable("down"), lambda node: node.cable("up"))
mute = (lambda node: node.mute(True), lambda node: node.mute(False))
stopped = (lambda node: node.signal(signal.SIGSTOP), lambda node: node.signal(signal.SIGCONT))
stopped_with_lanes = (lambda node: node.signal_all(signal.SIGSTOP), lambda node: node.signal_all(signal.SIGCONT))


def cut_writers(bench, chance, output):
    """T29, T30, T04 over shared files: lanes of a node that is cut off, is heard by nobody or stands still write nothing
    from when its coordinator gives it up; each of their writes takes a second, so they are far from done with what they have.
    All three at once, and a fourth node that does the work. The output has no name while what was lost last might be written."""
    with cluster(bench, chance, 4, secure=odd(bench)) as nodes:
        nodes.same_files = True
        stories, began = [], {}
        for victim, (begin, end) in zip(chance.sample(nodes.all, 3), (cut, mute, stopped_with_lanes)):
            luck, folder = bench.bad_luck("slow-writes", 1_000_000, 0)
            victim.kill()
            victim.start(env=luck)
            stories.append((victim, folder / "writes", begin, end))
        job = nodes.job(output)
        while job.runs() and len(began) < len(stories):
            for victim, writes, begin, _ in stories:
                if victim.address not in began and writes.exists():
                    began[victim.address] = time.time()
                    begin(victim)
            time.sleep(0.005)
        if len(began) < len(stories): # others have done it all
            for victim, _, _, end in stories:
                if victim.address in began:
                    end(victim)
            nodes.ends(job)
            return 0, [], []
        nodes.ends(job) # it has given the work to the fourth
        time.sleep(max(0.0, max(began.values()) + 6 - time.time()))
        for victim, _, _, end in stories:
            end(victim)
        seen = in_time(noticed(job, [(at, address) for address, at in began.items()]), silent_by)
        must(len(seen) == len(stories), "a node that says nothing was not found")
        given_up = dict(zip(began, seen))
        named = os.stat(output).st_ctime - max(began[each] + given_up[each] for each in began)
        must(named > 3.35, f"the output had its name {named:.2f} s after a node was given up that might write into it")
        time.sleep(1) # what stood still would write now
        for victim, writes, _, _ in stories:
            last = max(map(float, writes.read_text().split())) - began[victim.address]
            gone = given_up[victim.address]
            must(last <= gone, f"it wrote {last:.2f} s after its end began, and was given up after {gone:.2f} s")
            must(nodes.seen()[victim.address]["fenced"] >= 1, "it does not say that its lanes had to stop")
        return len(seen), seen, []


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
    with cluster(bench, chance, 16, megabits=2, lanes="thread") as nodes: # their start is not what is counted
        job = nodes.job(output)
        under_way(bench, chance, output, job)
        job.child.kill()
        if job.finish() == 0:
            return 0, [], []
        known = bench.journal(output)
        again = nodes.job(output)
        worked = processor_seconds(again, len(nodes.all), 5)
        nodes.ends(again)
        if known is not None and known["done"] == bench.shards: # nothing left to join for
            return 0, [], []
        nobody_lost(again)
        seen = [at - again.began for at in joined(again)]
        missing = {each.address for each in nodes.all} - {found[2] for found in up.finditer(again.log)}
        must(not missing or again.ended - again.began < 5, f"{len(missing)} of {len(nodes.all)} nodes did not join")
        must(max(seen, default=0.0) < 5, f"a node joined only after {max(seen):.1f} s")
        must(worked < 1, f"the coordinator took {worked:.2f} s of a processor until all had joined")
        return 1, [], seen


def processor_seconds(job, nodes, limit):
    """Of the coordinator, until so many have joined, it is over or the limit has passed."""
    worked = 0.0
    while job.runs() and time.time() - job.began < limit:
        worked = max(worked, job.cpu_seconds())
        if len(up.findall(job.heard())) >= nodes:
            break
        time.sleep(0.01)
    return worked


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
        nobody_lost(job)
        return 1, [], []


def node_killed(bench, chance, output):
    """Of the issue: noticed, and so its tickets in line again, within 200 ms."""
    with cluster(bench, chance, 2, megabits=8, secure=odd(bench)) as nodes:
        job, times = nodes.job(output), []
        under_way(bench, chance, output, job)
        victim = chance.choice(nodes.all)
        there = job.runs()
        victim.kill(times)
        victim.start()
        nodes.ends(job)
        seen = in_time(noticed(job, times), killed_by)
        must(seen or not there, "a node was killed, and nobody saw it")
        return len(seen), seen, [at - times[0][0] for at in joined(job, times[0][0])[:1]]


def lanes_killed(bench, chance, output):
    """T01: lane processes of nodes. The node lives, and tells what its lane died of; no shard is to blame."""
    with cluster(bench, chance, 2, lanes="process") as nodes:
        nodes.same_files = False # over at once, else
        job, kills = nodes.job(output), []
        under_way(bench, chance, output, job)
        for _ in range(chance.randint(2, 4)):
            victim = chance.choice(nodes.all)
            while job.runs() and not victim.lanes_at_work():
                time.sleep(0.005)
            lanes = victim.lanes_at_work()
            if lanes and job.runs() and bench.done_of(output) < bench.shards * 3 // 4: # else it may end before it is told
                job.strike(chance.choice(lanes), signal.SIGKILL, kills)
            time.sleep(chance.uniform(0, 0.3))
        nodes.ends(job)
        nobody_lost(job)
        must_strike(job.record())
        seen, _ = job.all_deaths(kills, "^killed: SIGKILL$")
        return len(kills), in_time(seen, told_by), []


def half_killed(bench, chance, output):
    """T41"""
    with cluster(bench, chance, 4) as nodes:
        job, times = nodes.job(output), []
        under_way(bench, chance, output, job)
        for victim in chance.sample(nodes.all, 2):
            victim.kill(times)
        nodes.ends(job)
        return 2, in_time(noticed(job, times), killed_by), []


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
    "node: its lanes, kill -9": lanes_killed,
    "node: SIGSTOP": silent(*stopped, secure=odd),
    "T15 a sync of a node fails": unsynced,
    "T24 kill -9 of coordinator": coordinator_killed,
    "T27 coordinator stands still": coordinator_stopped,
    **node_slow_rows.rows,
    "T29 a cut that heals soon": silent(*cut, 0.2, 1),
    "T29 a cut that heals late": silent(*cut, secure=odd),
    "T29 what is of before": old_token,
    "T29 T30 T04 writers are cut": cut_writers,
    "T30 heard by nobody": silent(*mute),
    "T31 a link that flaps": flapping,
    "T32 late, twice, lost": bad_messages,
    "T33 receipts that are lost": lost_receipts,
    "T34 all join at once": storm,
    "T36 another build": other_build,
    "T37 join, leave, drain": join_and_leave,
    "T39 a link that is full": saturated,
    "T41 half of them die": half_killed,
    "T42 all die and come back": all_killed,
}
