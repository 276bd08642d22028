"""The faults of the matrix. Each row puts its fault in at a place or time that `chance` picks, brings the job to its
end, checks what it can, and gives (times put in, seconds to the report of each, seconds until the work went on).

T numbers are those of the fault matrix that tests/README.md explains."""
from disk_faults import failing_disk, fills_up, too_small
from lane_faults import (hook, killed, never_starts, no_allocation, no_descriptors, no_memory_at_all, no_more_threads, no_processes,
                         out_of_memory, poison, signalled, stopped, storm, terminated_by, thrown)
from program_faults import all_killed, clock_jumps, deaf_consumer, journal_steps, program_killed, terminated
from source_faults import changed_source, corrupted, cut, odd_numbers

rows = {
    "T01 kill -9 of lanes": killed,
    "T02 SIGSEGV BUS ILL FPE": signalled,
    "T02 crash at work": hook("crash", "^crash: SIGSEGV$", strikes=True),
    "T03 abort": hook("abort", "^aborted: SIGABRT$", strikes=True),
    "T03 std::terminate": terminated_by("terminate", "thrown where nobody may"),
    "T03 destructor throws": terminated_by("destructor", "a destructor threw"),
    "T04 SIGSTOP, SIGCONT": stopped,
    "T05 work stands still": hook("hang", "^stalled: no progress", strikes=True),
    "T06 exception (threads)": thrown,
    "T07 storm of exceptions": storm,
    "T08 no start succeeds": never_starts,
    "T09 T10 poison shard": poison,
    "T11 killed for memory": out_of_memory,
    "T11 own limit of memory": hook("oom", "^oom: exit 76: std::bad_alloc$", strikes=True),
    "T12 allocation fails": no_allocation,
    "T12 program's allocation": no_memory_at_all,
    "T13 disk too small": too_small,
    "T13 disk fills up": fills_up,
    "T14 journal: ENOSPC": failing_disk("journal-write", 3),
    "T14 journal: no reserve": failing_disk("journal-full", 1, first=1, shard="16KiB"),
    "T15 journal: EIO of sync": failing_disk("journal-sync", 3),
    "T15 output: EIO of sync": failing_disk("output-sync", 3),
    "T15 output: EIO of write": failing_disk("output-write", 60),
    "T15 folder: EIO of sync": failing_disk("folder-sync", 3),
    "T16 source is cut": cut,
    "T17 source is corrupted": corrupted,
    "T18 source changes": changed_source,
    "T19 odd numbers": odd_numbers,
    "T24 journal's steps": journal_steps,
    "T24 kill -9 of all": all_killed,
    "T25 T26 kill of program": program_killed,
    "T35 clock jumps": clock_jumps,
    "T38 deaf consumer": deaf_consumer,
    "T40 no descriptors": no_descriptors,
    "T40 no processes": no_processes,
    "T40 limit of processes": no_more_threads,
    "lane speaks nonsense": hook("garbage", "^protocol: |not a frame", strikes=False),
    "lane ends with exit 74": hook("exit", "^io: exit 74$", strikes=False),
    "SIGTERM": terminated,
}

# of the time from a fault to its report, at most half may take longer, in milliseconds
detected_p50_max = {"T01 kill -9 of lanes": 200}
