"""`python -m tests.faults`: run every attack and print a table of what it did; exit 1 where it did harm.

An attack that cannot be made here is named with the reason, and is not in the table.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
from dataclasses import asdict, fields

from tests.faults import (
    bad_pictures,
    cluster,
    kill_children,
    kill_cli,
    kill_parent,
    machines,
    overlap,
    poison,
    queue,
    sessions,
    signals,
    watch,
)
from tests.faults.tally import Attack, Skipped, Tally

ATTACKS: list[Attack] = [
    kill_parent.attack,
    kill_cli.attack,
    kill_children.attack,
    poison.attack,
    overlap.attack,
    signals.attack,
    bad_pictures.attack,
    sessions.attack,
    cluster.attack,
    machines.attack,
    queue.attack,
    watch.attack,
]
"""Every attack, in the order of the table."""


def name_of(attack: Attack) -> str:
    """Return the name of the module of an attack, by which `--only` knows it."""
    return attack.__module__.rpartition(".")[2]


def main() -> int:
    """Run the attacks asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="how long: 1 is the full length")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=[name_of(attack) for attack in ATTACKS])
    parser.add_argument("--json", action="store_true", help="print one JSON object per attack")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # every process started here; the same for nohup and this one
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.ERROR)
    clean = True
    print("" if options.json else heading(), end="")
    for attack in ATTACKS:
        if not options.only or name_of(attack) in options.only:
            start = time.monotonic()
            try:
                tally = attack(options.seed, options.scale)
            except Skipped as reason:
                print(skipped(name_of(attack), str(reason), as_json=options.json), flush=True)
                continue
            clean &= tally.is_clean
            print(line(tally, time.monotonic() - start, as_json=options.json), flush=True)
    return 0 if clean else 1


def heading() -> str:
    """Return the first line of the table."""
    names = [part.name.replace("_", " ") for part in fields(Tally)]
    return f"{names[0]:44}" + "".join(f"{name:>15}" for name in names[1:]) + f"{'seconds':>10}\n"


def line(tally: Tally, seconds: float, *, as_json: bool) -> str:
    """Return the line of one attack."""
    values = asdict(tally)
    if as_json:
        return json.dumps({**values, "seconds": round(seconds, 1)})
    counts = "".join(f"{values[part.name]:>15}" for part in fields(Tally)[1:])
    return f"{tally.fault:44}{counts}{seconds:>10.1f}"


def skipped(name: str, reason: str, *, as_json: bool) -> str:
    """Return the line of an attack that was not made."""
    return json.dumps({"fault": name, "skipped": reason}) if as_json else f"{name}: skipped, {reason}"


if __name__ == "__main__":
    sys.exit(main())
