"""`python -m tests.bench`: exit status 0 when every check held, 1 when one failed, 2 when it cannot run here."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from . import checks, load, orthanc, report, rounds, slow
from .checks import Check, guarded
from .client import BrokenAnswer
from .dataset import Bench, prepare
from .items import Item, items
from .openpriors import OpenPriors
from .orthanc import Orthanc
from .peer import Peer, ServerFailed
from .profile import FULL, QUICK

FAST_MODE = "MainDicomTags"
NAMES = ("search", "metadata-identity", "metadata-gzip", "frame", "study", "store", "slow")


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, for CI; the figures are not to be quoted")
    parser.add_argument("--only", choices=["orthanc", "openpriors"], help="one side alone")
    parser.add_argument("--items", default=",".join(NAMES), help="some of the work, by name: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep the made studies there, for the next run")
    parser.add_argument("--openpriors", type=Path, default=Path(sys.executable).with_name("openpriors"), metavar="FILE")
    found = parser.parse_args(words)
    found.items = found.items.split(",")
    if unknown := set(found.items) - set(NAMES):
        parser.error(f"no such work: {', '.join(sorted(unknown))}")
    return found


def missing(given: argparse.Namespace) -> str | None:
    """What this machine lacks for the run, in words."""
    if not load.available():
        return f"`{load.PROGRAM}` is not installed (Debian package wrk)"
    if given.only != "openpriors" and not (shutil.which(orthanc.PROGRAM) and orthanc.PLUGIN.exists()):
        return "Orthanc is not installed (Debian packages orthanc and orthanc-dicomweb)"
    if given.only != "orthanc" and not given.openpriors.exists():
        return f"{given.openpriors} does not exist: run `make setup`"
    return None


def peers(given: argparse.Namespace, homes: Path) -> list[Peer]:
    """The servers of this run, in the order of their turns."""
    found: list[Peer] = []
    if given.only != "openpriors":
        first = Orthanc(homes / "orthanc")
        found.append(first)
        if any(name.startswith("metadata") for name in given.items):
            found.append(Orthanc(homes / FAST_MODE, FAST_MODE, copy_of=first))
    if given.only != "orthanc":
        found.append(OpenPriors(homes / "openpriors", given.openpriors))
    return found


def tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def slow_clients(run: report.Run, peer: Peer, bench: Bench) -> Iterator[Check]:
    """Memory under slow clients; a promise of OpenPriors, a comparison for Orthanc."""
    tell(f"measuring memory of {peer.name} under slow clients")
    peer.load_slow(bench)
    found = slow.stream(peer, bench, run.profile)
    run.slow.append(found)
    if isinstance(peer, OpenPriors):
        said = f"statuses {found.statuses}, MiB received {[count >> 20 for count in found.received]}"
        yield Check(peer=peer.name, promise="memory is flat under slow clients", ok=found.flat, found=said)


def work(run: report.Run, item: Item, serving: Sequence[Peer]) -> list[Check]:
    result, found = rounds.run(item, serving, run.profile.rounds)
    run.results.append(result)
    return found


def start(run: report.Run, serving: Sequence[Peer], bench: Bench) -> None:
    for peer in serving:
        tell(f"starting {peer.name}")
        peer.start(bench)
    for peer in serving:
        tell(f"checking {peer.name}")
        run.settings[peer.name] = peer.settings()
        run.checks += checks.answers(peer, bench, full="-" not in peer.name)
        if isinstance(peer, OpenPriors):
            run.checks += guarded(peer.name, "protection", partial(checks.protection, peer, bench))


def measure(run: report.Run, serving: Sequence[Peer], bench: Bench, wanted: Sequence[str]) -> None:
    """All wanted work on servers that run; what could not be measured is a failed check."""
    own: list[Peer] = [peer for peer in serving if isinstance(peer, OpenPriors)]
    # OpenPriors' memory is looked at first, while it is at its lowest; Orthanc's, alone, last, for it fills its cache.
    for peer in own if "slow" in wanted else []:
        run.checks += guarded(peer.name, "measure slow clients", partial(slow_clients, run, peer, bench))
    for item in items(bench, run.profile):
        if item.name in wanted:
            tell(f"measuring {item.title}")
            run.checks += guarded("all", f"measure {item.name}", partial(work, run, item, serving))
    for peer in serving[:1] if "slow" in wanted and not own else []:
        run.checks += guarded(peer.name, "measure slow clients", partial(slow_clients, run, peer, bench))


def bench_in(place: Path, given: argparse.Namespace) -> report.Run:
    """One run with its servers' homes below `place`; they are removed at its end, the made studies are not."""
    run = report.Run(profile=QUICK if given.quick else FULL)
    homes = Path(tempfile.mkdtemp(prefix="servers-", dir=place))
    started = time.monotonic()
    serving: list[Peer] = []
    try:
        tell(f"making the studies below {place}")
        bench = prepare(place, run.profile)
        serving = peers(given, homes)
        start(run, serving, bench)
        measure(run, serving, bench, given.items)
    finally:
        for peer in serving:
            peer.stop()
        shutil.rmtree(homes, ignore_errors=True)
        run.seconds = time.monotonic() - started
    return run


def main(words: Sequence[str] | None = None) -> int:
    given = arguments(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the servers are stopped on the way out
    if lacking := missing(given):
        tell(f"bench: {lacking}")
        return 2
    with tempfile.TemporaryDirectory(prefix="openpriors-bench-") as scratch:
        place = given.work or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        try:
            run = bench_in(place, given)
        except (ServerFailed, BrokenAnswer, OSError) as error:
            tell(f"bench: {error or error.__doc__}")
            return 1
    print(report.text(run))
    if given.json:
        given.json.write_text(json.dumps(report.document(run), indent=2))
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
