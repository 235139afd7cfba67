"""Rounds in turn, A B A B, so that what drifts on the machine drifts under all servers alike."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .checks import Check
from .items import Item, Record
from .memory import Memory, Watch
from .openpriors import OpenPriors
from .peer import Peer

OWN = OpenPriors.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times faster OpenPriors was, of the two figures of each round."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures of one item: by server, in the order of the rounds."""

    item: Item
    figures: dict[str, list[float]]
    memory: dict[str, Memory]

    def median(self, peer: str) -> float:
        return statistics.median(self.figures[peer])

    def ratio(self, against: str) -> Ratio | None:
        """OpenPriors against another server, or nothing when one of them did not run."""
        if OWN not in self.figures or against not in self.figures:
            return None
        pairs = zip(self.figures[against], self.figures[OWN], strict=True)
        each = [other / own if self.item.less_is_better else own / other for other, own in pairs]
        return Ratio(least=min(each), median=statistics.median(each), most=max(each))

    def met(self, against: str = "orthanc") -> bool | None:
        """Whether the median ratio reaches the target, where there is one."""
        found = self.ratio(against)
        return None if found is None else found.median >= self.item.target


def joined(samples: Sequence[Memory]) -> Memory:
    return Memory(before=samples[0].before, peak=max(one.peak for one in samples), after=samples[-1].after)


def owed(item: Item, requests: int, batches: int) -> int:
    """The fewest audit events that these requests may leave."""
    return {Record.EACH: requests, Record.SERIES: item.series, Record.BATCH: batches}[item.record]


def run(item: Item, peers: Sequence[Peer], rounds: int) -> tuple[Result, list[Check]]:
    """Warm each server up, then measure them in turn; checks that the log grew by what was asked of OpenPriors."""
    taking = [peer for peer in peers if item.modes or "-" not in peer.name]
    own = next((peer for peer in taking if isinstance(peer, OpenPriors)), None)
    if own:
        own.renew()  # what an earlier item was allowed covers nothing of this one
    log_before = own.log_size() if own else 0
    requests = {peer.name: item.measure(peer, 0).requests for peer in taking}
    figures: dict[str, list[float]] = {peer.name: [] for peer in taking}
    memory: dict[str, list[Memory]] = {peer.name: [] for peer in taking}
    for at in range(1, rounds + 1):
        for peer in taking:
            peer.headers()  # a token is renewed before memory is looked at
            with Watch(peer.pid) as watch:
                sample = item.measure(peer, at)
            figures[peer.name].append(sample.value)
            memory[peer.name].append(watch.memory)
            requests[peer.name] += sample.requests
    result = Result(item=item, figures=figures, memory={name: joined(found) for name, found in memory.items()})
    if own is None:
        return result, []
    least = owed(item, requests[own.name], rounds + 1)
    grown = own.log_size(log_before + least) - log_before
    said = f"{requests[own.name]} requests, {grown} events, at least {least} owed ({item.record.value})"
    return result, [Check(peer=own.name, promise=f"audit of {item.name}", ok=grown >= least, found=said)]
