#!/usr/bin/env python3
"""Faults of one machine, with real processes: `viva quantize` is killed, hung, filled up, and must not differ.

  matrix.py VIVA CHECK_JOURNAL BAD_LUCK [--nodes] [--seeds N] [--seed FIRST] [--only TEXT] [--throughput] [--json FILE]

Each seed puts in every fault of fault_rows.py, or of node_rows.py with --nodes (or those whose name holds TEXT), at a place or time that the seed picks.
Afterwards: the output equals that of an undisturbed job byte for byte, a journal that was left obeys the laws of the
independent checker and its durable shards are not computed again, no lane outlives its program. Prints a table:

  detected   from the moment of the fault to the report: of the supervisor, where a lane dies; of the program, by its
             end, where the program has to stop; of the lanes' own end, where the program was killed
  recovered  from the fault to the lane's next life; or, where the job ended, from the start of the same command to its
             conductor's, which works on what was not durable

A dash: nobody is there to see it, or nothing is to be recovered. A fault that met nothing, because the job was over
before, is tried again at other places; one that met nothing in any seed has failed. --throughput adds what is kept while
a lane is killed every 100 ms, and fails below 90 %. The last line is "N passed, N failed". BAD_LUCK is the library that
bad_luck.cpp describes.
"""
import argparse, json, pathlib, random, shutil, signal, statistics, subprocess, sys, tempfile

import fault_rows, node_rows
from real_job import bench, broken, must, run, skipped


def quantile(all_of, q):
    return 1000 * sorted(all_of)[min(len(all_of) - 1, int(q * len(all_of)))] if all_of else None


def shown(milliseconds):
    return "-" if milliseconds is None else f"{milliseconds:.2f}" if milliseconds < 10 else f"{milliseconds:.0f}"


class row:
    def __init__(self, name):
        self.name, self.times, self.lost, self.differ, self.failed = name, 0, 0, 0, 0
        self.seen, self.back = [], []

    def facts(self):
        return {"fault": self.name, "times": self.times, "detected_ms_p50": quantile(self.seen, .5),
                "detected_ms_p99": quantile(self.seen, .99), "recovered_ms_p50": quantile(self.back, .5),
                "recovered_ms_p99": quantile(self.back, .99), "lost_shards": self.lost, "differing_bytes": self.differ,
                "failed": self.failed}

    def line(self):
        f = self.facts()
        return (f"{self.name:26}{self.times:6}{shown(f['detected_ms_p50']):>15}{shown(f['detected_ms_p99']):>8}"
                f"{shown(f['recovered_ms_p50']):>15}{shown(f['recovered_ms_p99']):>8}{self.lost:8}{self.differ:8}")


head = (f"{'fault':26}{'times':>6}{'detected p50':>15}{'p99':>8}{'recovered p50':>15}{'p99':>8}{'lost':>8}{'differ':>8}\n"
        f"{'':32}{'ms':>15}{'ms':>8}{'ms':>15}{'ms':>8}{'shards':>8}{'bytes':>8}")


def tidy(place):
    for left in [*place.glob("out*"), *place.glob("luck-*"), *place.glob("tmp/*"), *place.glob("shm/*")]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()


tries = 3


def put_in(each, way, table, seed, place):
    """One fault of one seed; True where it met something and every law held, None where it met nothing."""
    for turn in range(tries):
        before = each.times
        if not tell(each, way, table, f"{seed} {each.name}" + (f" {turn}" if turn else ""), seed, place):
            return False
        if each.times > before:
            return True
    print(f"met nothing in {tries} tries: {each.name}, seed {seed}", flush=True)
    return None


def tell(each, way, table, words, seed, place):
    """One story; True where every law held."""
    output = place / "out"
    table.jobs.clear()
    table.seed, table.ground = seed, ""
    try:
        times, seen, back = way(table, random.Random(words), output)
        each.times += times
        each.seen += seen
        each.back += back
        wrong = table.differing(output)
        each.differ += wrong
        must(wrong == 0, f"{wrong} bytes differ from the undisturbed run")
        died = sum(job.lane_deaths() for job in table.jobs if "--nodes" not in job.command)
        must(died <= times, f"{died} lanes died of {times} faults")
        left = table.leftovers() + [str(each) for end in ("partial", "journal") for each in place.glob(f"out.{end}")]
        must(not left, f"left over: {left}")
        return True
    except broken as why:
        each.failed += 1
        each.lost += 0 if output.exists() else table.lost_in(output)
        print(f"FAIL {each.name}, seed {seed}{table.ground}: {why}", flush=True)
        return False
    finally:
        for job in table.jobs:
            if job.runs(): # it was given up before its end
                job.child.kill()
                job.child.wait()
            job.watch.close()
        tidy(place)


def throughput(table, rounds=5):
    """Bytes of source a second with a lane killed every 100 ms, over those undisturbed; medians, in turn."""
    table.source = table.place / "large"
    subprocess.run([table.viva, "synth", table.source, "--size", "1GiB"], check=True, stdout=subprocess.DEVNULL)
    rates, kills = {False: [], True: []}, 0
    for which in [False, True] * rounds:
        output, turn = table.place / "out", 0
        job = run(table, output, shard="8192KiB")
        job.wait_for_lanes()
        while job.runs():
            try:
                job.child.wait(0.1)
            except subprocess.TimeoutExpired:
                if which and (lanes := job.at_work()):
                    job.strike(lanes[turn % len(lanes)], signal.SIGKILL, [])
                    turn, kills = turn + 1, kills + 1
        job.ends(0)
        rates[which].append(job.report()["bytes_per_second"])
        tidy(table.place)
    kept = 100 * statistics.median(rates[True]) / statistics.median(rates[False])
    print(f"throughput kept with a lane killed every 100 ms: {kept:.1f} % "
          f"({kills} kills in {rounds} jobs of 1 GiB, 2 lanes)", flush=True)
    return {"fault": "a lane killed every 100 ms", "times": kills, "throughput_kept_percent": kept}


def main():
    ask = argparse.ArgumentParser()
    for name in ("viva", "checker", "luck"):
        ask.add_argument(name, type=pathlib.Path)
    ask.add_argument("--seeds", type=int, default=2)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--only", default="")
    ask.add_argument("--nodes", action="store_true")
    ask.add_argument("--throughput", action="store_true")
    ask.add_argument("--json", type=pathlib.Path)
    said = ask.parse_args()
    passed, failed, without, documents = 0, 0, set(), []
    rows = (node_rows if said.nodes else fault_rows).rows
    build = pathlib.Path(__file__).resolve().parents[2] / "build" # some hundred MB: not where memory is the disk
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="viva-faults-", dir=build) as folder:
        place = pathlib.Path(folder)
        table = bench(said.viva.resolve(), said.checker.resolve(), said.luck.resolve(), place)
        chosen = {name: row(name) for name in rows if said.only in name}
        for seed in range(said.seed, said.seed + said.seeds):
            for name, each in chosen.items():
                try:
                    if name not in without:
                        good = put_in(each, rows[name], table, seed, place)
                        passed += good is True
                        failed += good is False
                except skipped as why:
                    without.add(name)
                    print(f"left out: {name}: {why}", flush=True)
        print(head)
        for name, each in chosen.items():
            if name not in without:
                failed += each.times == 0 and each.failed == 0
                print(each.line())
                documents.append(each.facts())
                limit = fault_rows.detected_p50_max.get(name)
                if each.seen and limit and quantile(each.seen, .5) > limit:
                    failed += 1
                    print(f"FAIL {name}: half of the faults were reported after more than {limit} ms")
        if said.throughput:
            documents.append(throughput(table))
            passed, failed = (passed + 1, failed) if documents[-1]["throughput_kept_percent"] >= 90 else (passed, failed + 1)
    if said.json:
        said.json.write_text("".join(json.dumps(each) + "\n" for each in documents))
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


sys.exit(main())
