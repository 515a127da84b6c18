"""`python -m tests.fuzz`: a long run of the fuzzer, with a tally; `make fuzz` calls it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.case import make_case
from tests.fuzz.check import judged
from tests.fuzz.files import run_files
from tests.fuzz.tally import Tally

_CASE_S = 20
"""No case takes a hundredth of it. Only the command stops at this; tests count steps instead."""
_MEMORY_BYTES = 4 << 30
_SHOW_EVERY_S = 10.0


def main() -> int:
    """Returns 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many in all")
    parser.add_argument("--guided", type=float, default=0.2, help="share of the cases that atheris steers")
    parser.add_argument("--seed", type=int, default=0, help="the first case of those that are made at random")
    parser.add_argument("--out", type=Path, default=Path("fuzz-output"), help="folder for records that failed")
    parser.add_argument("--files", type=int, default=200_000, help="further cases: files that are read at start")
    args = parser.parse_args()
    guided = int(args.cases * args.guided)
    if guided and importlib.util.find_spec("atheris") is None:
        print("atheris is not installed, so no case is steered: pip install -e '.[fuzz]'")  # noqa: T201
        guided = 0
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, resource.RLIM_INFINITY))
    started, tally = time.monotonic(), Tally(args.out)
    try:
        _generated(tally, args.seed, args.cases - guided)
    except KeyboardInterrupt:  # what was counted until now is still worth something
        guided = 0
    print(f"{tally.outcomes.total()} generated cases in {time.monotonic() - started:.0f} s")  # noqa: T201
    if guided:
        begun = time.monotonic()
        done = _guided(tally, guided, args.out)
        print(f"{done} guided cases in {time.monotonic() - begun:.0f} s")  # noqa: T201
        if done < guided:
            tally.faults.append(f"the guided run ended after {done} of {guided} cases: see {args.out}/guided.log")
    print("\n".join(["", *tally.lines(), ""]))  # noqa: T201
    files = _files(tally, args.seed, args.files, args.out) if args.files else 0
    print("\n".join(tally.faults[:40]) or "no faults")  # noqa: T201
    total = tally.outcomes.total() + files
    print(f"{total} cases, {len(tally.faults)} faults, {time.monotonic() - started:.0f} s")  # noqa: T201
    return 1 if tally.faults else 0


def _generated(tally: Tally, first: int, count: int) -> None:
    def too_slow(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"over {_CASE_S} s")

    signal.signal(signal.SIGALRM, too_slow)
    shown = time.monotonic()
    for seed in range(first, first + count):
        case = make_case(Random(seed))  # noqa: S311 - variety, not secrecy
        signal.alarm(_CASE_S)
        outcome = judged(case)
        signal.alarm(0)
        tally.add(case, outcome, f"seed-{seed}")
        if time.monotonic() - shown > _SHOW_EVERY_S:
            shown = time.monotonic()
            print(f"  {seed - first + 1} of {count}, {len(tally.faults)} faults", flush=True)  # noqa: T201


def _files(tally: Tally, first: int, count: int, out: Path) -> int:
    """Returns how many files were read or refused."""
    shown = time.monotonic()

    def show(seed: int) -> None:
        nonlocal shown
        signal.alarm(_CASE_S)
        if time.monotonic() - shown > _SHOW_EVERY_S:
            shown = time.monotonic()
            print(f"  {seed - first + 1} of {count} files", flush=True)  # noqa: T201

    warnings.simplefilter("error")  # a number that overflows in a library is a fault of whoever let it in
    with tempfile.TemporaryDirectory() as folder:
        counts, faults = run_files(first, count, Path(folder), out, show)
    signal.alarm(0)
    tally.faults += faults
    states = ("read", "refused", "fault")
    lines = [f"{'file':20}" + "".join(f"{state:>9}" for state in states)]
    for name in sorted({name for name, _ in counts}):
        lines.append(f"{name:20}" + "".join(f"{counts[name, state]:9}" for state in states))
    print("\n".join([*lines, ""]))  # noqa: T201
    return counts.total()


def _guided(tally: Tally, count: int, out: Path) -> int:
    """Returns how many cases were run."""
    out.mkdir(parents=True, exist_ok=True)
    result = out / "guided.json"
    result.unlink(missing_ok=True)
    with (out / "guided.log").open("wb") as log:
        command = [sys.executable, "-m", "tests.fuzz.guided", str(count), str(out), str(result)]
        # the memory limit of this process is too small for atheris's tables of coverage
        no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_AS, no_limit)
        subprocess.run(command, stdout=log, stderr=log, check=False)
    if not result.exists():
        return 0
    found = json.loads(result.read_text(encoding="utf-8"))
    tally.take(found)
    return int(found["done"])


if __name__ == "__main__":
    sys.exit(main())
