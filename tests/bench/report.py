"""What a run prints, and what it writes for other programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .checks import Check
from .memory import Memory
from .profile import MIB, Profile
from .rounds import OWN, Ratio, Result
from .slow import Slow

NOTES = (
    "Orthanc is asked directly: no authorization, no consent, no audit.",
    "times faster: per round, then least / median / most; the goal is held against the median, Orthanc in Full mode.",
    "orthanc-MainDicomTags answers metadata from its database alone, with about a tenth of the attributes.",
    "store, OpenPriors: `openpriors import`, start of the command included; each file and its catalog row durable.",
    "store, Orthanc: STOW-RS, 2 clients, 20 a request, bodies ready in memory; files synced, its index not.",
    "gzip: until the last byte; the client's own decompression is not in the time.",
)


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything that one run found."""

    profile: Profile
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])  # others at work make figures small
    settings: dict[str, Mapping[str, object]] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    slow: list[Slow] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.ok]


def machine(run: Run) -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "load average before": run.load_before,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def figure(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def mebibytes(memory: Memory) -> str:
    return " / ".join(f"{value / MIB:.0f}" for value in (memory.before, memory.peak, memory.after))


def times(ratio: Ratio | None) -> str:
    return "-" if ratio is None else f"{ratio.least:.1f} / {ratio.median:.1f} / {ratio.most:.1f}"


def verdict(result: Result, peer: str) -> str:
    met = result.met(peer) if peer == "orthanc" else None
    goal = f">= {result.item.target:g}x"
    return "-" if met is None else f"{goal} {'met' if met else 'MISSED'}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, the first row underlined."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def figures_table(results: Sequence[Result]) -> str:
    rows = [["work", "server", "median", "unit", "times faster", "goal", "RSS MiB before / peak / after"]]
    for result in results:
        title = result.item.title
        for peer in result.figures:
            ratio = None if peer == OWN else result.ratio(peer)
            cells = [title, peer, figure(result.median(peer)), result.item.unit, times(ratio), verdict(result, peer)]
            rows.append([*cells, mebibytes(result.memory[peer])])
            title = ""
    return table(rows)


def slow_lines(slow: Sequence[Slow]) -> list[str]:
    return [
        f"{one.peer}: {one.study_bytes / 1e9:.2f} GB study, {len(one.received)} slow clients for {one.seconds:.0f} s,"
        f" {sum(one.received) / 1e9:.2f} GB received; RSS MiB before / peak / after {mebibytes(one.memory)}:"
        f" {'flat' if one.flat else 'NOT flat'} within 64 MiB"
        for one in slow
    ]


def text(run: Run) -> str:
    """The whole report, to be read by people."""
    lines = [
        f"Profile {run.profile.name}, {run.profile.rounds} rounds in turn, {run.seconds:.0f} s; {machine(run)}",
        "",
    ]
    lines += [
        f"{name}: {', '.join(f'{key}={value}' for key, value in said.items())}" for name, said in run.settings.items()
    ]
    lines += ["", figures_table(run.results), ""] if run.results else [""]
    lines += [*slow_lines(run.slow), ""] if run.slow else []
    lines += [f"{'ok    ' if one.ok else 'FAILED'} {one.peer}: {one.promise} ({one.found})" for one in run.checks]
    lines += ["", *(f"* {note}" for note in NOTES)]
    if run.failed:
        lines += ["", f"{len(run.failed)} of {len(run.checks)} checks failed: the figures above do not count."]
    return "\n".join(lines)


def result_document(result: Result) -> dict[str, Any]:
    others = [peer for peer in result.figures if peer != OWN]
    ratios = {peer: result.ratio(peer) for peer in others}
    return {
        "name": result.item.name,
        "title": result.item.title,
        "unit": result.item.unit,
        "target": result.item.target,
        "met": result.met(),
        "figures": result.figures,
        "medians": {peer: result.median(peer) for peer in result.figures},
        "times_faster": {peer: asdict(ratio) for peer, ratio in ratios.items() if ratio is not None},
        "rss_bytes": {peer: asdict(memory) for peer, memory in result.memory.items()},
    }


def document(run: Run) -> dict[str, Any]:
    """The whole report, to be read by programs."""
    return {
        "profile": asdict(run.profile),
        "machine": machine(run),
        "seconds": run.seconds,
        "settings": run.settings,
        "items": [result_document(result) for result in run.results],
        "slow_clients": [{**asdict(one), "flat": one.flat} for one in run.slow],
        "checks": [asdict(check) for check in run.checks],
        "ok": not run.failed,
    }
