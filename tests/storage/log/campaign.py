"""Tamper with a log of 100,000 events in every way: `python -m tests.storage.log.campaign [--events N] [--flips N]`.

Prints what was done, whether it was told and where, and how long things took. Exit status 1 when anything was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

import gateway.auth.tables  # noqa: F401
from storage import schema
from storage.database import Database, sqlite_url
from storage.log.audit_log import AuditLog
from storage.sealing import KeyRing
from tests.storage.log import tampering
from tests.storage.log.events import NOW, events
from tests.storage.log.tampering import Filled

A_ROUND = 400  # flipped bits at once: the report names the first thousand problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--flips", type=int, default=10_000, help="single bits flipped, each in an event of its own")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    given = parser.parse_args()
    given.flips = min(given.flips, given.events)
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory() as home:
        missed = run(Path(home), given)
    print(f"missed: {missed}")
    return 1 if missed else 0


def run(home: Path, given: argparse.Namespace) -> int:
    filled = timed(f"append and sign {given.events:,} events", given.events, lambda: prepare(home, given.events))
    log = filled.log
    sound = timed("verify", filled.total, lambda: log.database.read(log.verify, filled.kept))
    verifier = tampering.standalone()
    outside = timed(
        "export and verify outside",
        filled.total,
        lambda: log.database.read(tampering.checked_outside, filled, verifier),
    )
    missed = len(sound.problems) + len(outside)
    missed += in_database(filled, verifier, given.seed) + in_files(filled, given.seed) + tail(filled)
    missed += flipped_bits(filled, given)
    asyncio.run(pace(log))
    log.database.close()
    return missed


def prepare(home: Path, count: int) -> Filled:
    (home / "data").mkdir()
    database = Database(sqlite_url(home / "data"))
    database.write(schema.install, "campaign")
    keys = KeyRing(home / "keys", data_dir=home / "data")
    log = AuditLog(database, keys, home / "data", node="n", process="campaign", clock=lambda: NOW)
    return tampering.fill(log, count)


def in_database(filled: Filled, verifier: Any, seed: int) -> int:
    def work(tx: Connection, tamper: tampering.Tamper) -> tuple[str, list[str], list[str]]:
        expected = tamper(tx, filled, random.Random(f"{seed}{tamper.__name__}"))
        outside = tampering.checked_outside(tx, filled, verifier) if tamper in tampering.SEEN_OUTSIDE else []
        return expected, list(filled.log.verify(tx, filled.kept).problems), outside

    missed = 0
    for tamper in tampering.SEEN_OUTSIDE + tampering.SEEN_INSIDE:
        expected, inside, outside = tampering.undone(filled, lambda tx, tamper=tamper: work(tx, tamper))
        missed += report(tamper.__name__, expected, inside)
        if tamper in tampering.SEEN_OUTSIDE:
            missed += report(f"{tamper.__name__}, outside", expected, outside)
    return missed


def in_files(filled: Filled, seed: int) -> int:
    missed = 0
    for tamper in tampering.IN_FILES:
        with tampering.files_restored(filled):
            expected = tamper(filled, random.Random(f"{seed}{tamper.__name__}"))
            missed += report(tamper.__name__, expected, list(filled.log.database.read(filled.log.verify).problems))
    return missed


def tail(filled: Filled) -> int:
    def work(tx: Connection) -> list[str]:
        tampering.cut_off(tx, filled, filled.earliest, filled.size // 4)
        return list(filled.log.verify(tx, filled.kept).problems)

    with tampering.files_restored(filled):
        return report("tail cut off, nothing inside tells", "end was cut off", tampering.undone(filled, work))


def flipped_bits(filled: Filled, given: argparse.Namespace) -> int:
    rng, done, found, started = random.Random(given.seed), 0, 0, time.perf_counter()

    def work(tx: Connection, count: int) -> int:
        flipped = tampering.flips(tx, filled, rng, count)
        problems = filled.log.verify(tx).problems
        told = {int(number) for problem in problems for number in re.findall(r"event (\d+) of node", problem)}
        return sum(place.seq in told for _, place in flipped)

    while done < given.flips:
        count = min(A_ROUND, given.flips - done)
        found += tampering.undone(filled, lambda tx, count=count: work(tx, count))
        done += count
    print(f"single-bit flips told with their place: {found:,} of {done:,} ({time.perf_counter() - started:.0f} s)")
    return done - found


async def pace(log: AuditLog) -> None:
    """How fast events are recorded when each must be durable before its request goes on."""
    made = events(1 << 30, seed=-1)
    for recorders, count in ((1, 1000), (8, 10_000), (64, 20_000)):
        left, waits = iter(range(count)), []

        async def recorder(left: Any = left, waits: Any = waits) -> None:
            for _ in left:
                begun = time.perf_counter()
                await log.record(next(made))
                waits.append(time.perf_counter() - begun)

        begun = time.perf_counter()
        await asyncio.gather(*(recorder() for _ in range(recorders)))
        took, waits = time.perf_counter() - begun, sorted(waits)
        print(
            f"record, {recorders} at once: {count / took:,.0f} events/s, each durable after "
            f"{waits[count // 2] * 1e3:.2f} ms (p50), {waits[count * 99 // 100] * 1e3:.2f} ms (p99)"
        )


def report(name: str, expected: str, problems: list[str]) -> int:
    told = [problem for problem in problems if re.search(expected, problem)]
    print(f"{'told  ' if told else 'MISSED'} {name.replace('_', ' ')}: {(told or problems or ['nothing'])[0][:150]}")
    return not told


def timed(what: str, count: int, work: Any) -> Any:
    started = time.perf_counter()
    result = work()
    took = time.perf_counter() - started
    print(f"{what}: {took:.1f} s, {count / took:,.0f} events/s")
    return result


if __name__ == "__main__":
    sys.exit(main())
