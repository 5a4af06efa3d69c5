"""Draw cases, judge them, print how they ended: ``python -m fuzz --cases 1000``."""

import argparse
import os
import sys

from fuzz.run import DRAWS, Name, failures, judged, names_of, run, table


def main() -> int:
    """Return 0 if nothing failed."""
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(threads, "1")  # of the processes that are started
    options = parser().parse_args()
    if options.case is not None:
        return show(Name(options.what, options.seed, options.case))
    outcomes = run(names_of(options.what, options.seed, options.cases), options.jobs)
    say(f"{len(outcomes):,} cases of seed {options.seed}: {options.what}")
    say(table(outcomes))
    for line in failures(outcomes, options.jobs, options.shown):
        say(line)
    return int(any(found.verdict.failed for found in outcomes))


def parser() -> argparse.ArgumentParser:
    """Return what the command line takes."""
    found = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    found.add_argument("--what", choices=DRAWS, default="transport")
    found.add_argument("--cases", type=int, default=1000, help="how many")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    found.add_argument("--shown", type=int, default=2, help="cases to shrink of each fault")
    found.add_argument("--case", type=int, help="show this one alone")
    return found


def show(name: Name) -> int:
    """Write a case and its verdict."""
    case = name.case()
    verdict = judged(case)
    say(f"{case}\n{verdict.kind} {verdict.why}")
    return int(verdict.failed)


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
