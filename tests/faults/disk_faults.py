"""Faults of the disk: full, or failing. Rows as fault_rows.py explains."""
import contextlib, os, pathlib, shutil, subprocess, time

from real_job import must, run, skipped


@contextlib.contextmanager
def small_disk(bench, output, size):
    """A file system of so many bytes, and how to make it larger; what is done there becomes `output`."""
    if os.geteuid() != 0:
        raise skipped("only root may mount a small file system")
    disk = pathlib.Path(f"{output}-disk")
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk], check=True)
    try:
        yield disk, lambda more: subprocess.run(["mount", "-o", f"remount,size={more}", disk], check=True)
        shutil.copytree(disk / "out", output)
    finally:
        for job in bench.jobs:
            job.watch.close()
        subprocess.run(["umount", disk], check=True)


def after_stop(bench, where):
    """What a job that had to stop leaves: no final name, and a journal that is sound, or none yet."""
    must(not where.exists(), "a job that could not write left a final name")
    known = bench.journal(where)
    must(known is None or not known["named"], "the journal names what could not be written")
    return known


def too_small(bench, chance, output):
    """T13: less space than the job needs; seen before anything is done."""
    with small_disk(bench, output, 8 << 20) as (disk, grow):
        job = run(bench, disk / "out")
        job.ends(5)
        known = after_stop(bench, disk / "out")
        grow(int(1.2 * bench.bytes))
        return 1, [job.ended - job.began], [bench.resume(disk / "out", known)]


def fills_up(bench, chance, output):
    """T13: somebody else takes all space while the job runs."""
    with small_disk(bench, output, int(1.5 * bench.bytes)) as (disk, _):
        where = disk / "out"
        job = run(bench, where, env=bench.slow(20))
        job.wait_for_lanes() # a job that finds no space before them has done nothing, and leaves no journal
        time.sleep(chance.uniform(0, bench.seconds / 4))
        at = time.time()
        with open(disk / "ballast", "wb") as ballast:
            while job.runs():
                free = os.statvfs(disk)
                with contextlib.suppress(OSError):
                    if free.f_bavail:
                        os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), free.f_bavail * free.f_frsize)
                job.look()
                time.sleep(0.001)
        code = job.ends(0, 5)
        (disk / "ballast").unlink()
        if code == 0: # all was written before
            return 0, [], []
        known = after_stop(bench, where)
        must(known is not None, "a job that was at work has no journal")
        return 1, [job.ended - at], [bench.resume(where, known)]


def failing_disk(kind, last, first=0, **how):
    """T14, T15: one write or sync of the journal, the output or a folder fails. Nothing is committed after it."""
    def row(bench, chance, output):
        luck, folder = bench.bad_luck(kind, chance.randint(first, last))
        job = run(bench, output, env=luck, **how)
        code = job.ends(0, 5)
        times = bench.fired(folder)
        must((code != 0) == (len(times) > 0), f"{len(times)} calls failed, and the job ended with {code}")
        if not times:
            return 0, [], []
        known = bench.journal(output)
        return 1, [job.ended - times[0]], [bench.resume(output, known, **how)]
    return row
