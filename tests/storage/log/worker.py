"""A process of its own that writes to a log: `python -m tests.storage.log.worker HOME NAME WHAT [COUNT]`.

append   appends COUNT events in small transactions, with rounds of the sequencer in between
record   records events one after the other and says which are durable, until it is killed
intents  records COUNT intents to retrieve, says so, and waits to be killed
sweep    closes what crashed processes left open; says how many
serve    runs the sequencer until its standard input ends
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import gateway.auth.tables  # noqa: F401
from storage.database import Database, sqlite_url
from storage.log.audit_log import AuditLog
from storage.log.event import AuditEvent, Kind
from storage.log.presence import Presence
from storage.sealing import KeyRing
from tests.storage.log.events import NOW


def append(log: AuditLog, name: str, count: int) -> None:
    rng = random.Random(name)
    left = count
    while left:
        part = min(left, rng.randrange(1, 20))
        left -= part
        log.database.write(
            log.append_many,
            [
                AuditEvent(kind=Kind.SEARCH, at=NOW, request=f"{name}-{left}-{at}", sealed={"person": name})
                for at in range(part)
            ],
        )
        if rng.random() < 0.3:
            log.advance()


async def record(log: AuditLog, name: str) -> None:
    async def one(number: int) -> None:
        for at in range(1_000_000):
            request = f"{name}-{number}-{at}"
            await log.record(AuditEvent(kind=Kind.SEARCH, at=NOW, request=request, subjects=[("person", name)]))
            print(request, flush=True)

    await asyncio.gather(log.run_sequencer(round_s=0.01), *map(one, range(4)))


async def intents(log: AuditLog, name: str, count: int) -> None:
    def intent(at: int) -> AuditEvent:
        about = [("patient", f"HOSPITAL|{name}"), ("study", f"1.2.{at}")]
        return AuditEvent(kind=Kind.RETRIEVE_INTENT, at=NOW + at, request=f"{name}-{at}", subjects=about)

    await asyncio.gather(*(log.record(intent(at)) for at in range(count)))
    # the first half gets its outcome
    for at in range(count // 2):
        await log.record(AuditEvent(kind=Kind.RETRIEVE_OUTCOME, at=NOW, request=f"{name}-{at}"))


async def serve(log: AuditLog) -> None:
    running = asyncio.create_task(log.run_sequencer())
    await asyncio.to_thread(sys.stdin.read)
    running.cancel()


def main(home: str, name: str, what: str, count: str = "0", url: str = "") -> None:
    data = Path(home) / "data"
    database = Database(url or sqlite_url(data))
    presence = Presence(database, data)
    log = AuditLog(
        database,
        KeyRing(Path(home) / "keys", data_dir=data),
        data,
        node=name,
        process=presence.name,
        clock=lambda: NOW,
    )
    if what == "append":
        append(log, name, int(count))
    elif what == "record":
        asyncio.run(record(log, name))
    elif what == "intents":
        asyncio.run(intents(log, name, int(count)))
        print("ready", flush=True)
        sys.stdin.read()
    elif what == "sweep":
        print(len(database.write(lambda tx: log.sweep(tx, lambda process: presence.alive(tx, process)))))
    else:
        print("ready", flush=True)
        asyncio.run(serve(log))
    presence.close()
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
