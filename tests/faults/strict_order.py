"""The order of the write path, held against the strictest reading of POSIX: nothing survives that was not flushed.

An import runs under strace. Every name and every byte is followed: a byte is durable when its file was flushed after
it was written, a name when its directory was flushed after it was made. Whenever an instance is told of, its object
must be durable by name and by content up to the data directory, and the database's log must be flushed. Unlike a real
file system, which flushes more than it is asked, this shows a forgotten directory.

    python -m tests.faults.strict_order [--seed no-directory-sync]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.workload import SEEDS, close, files, import_and_tell, opened

CALLS = "openat,mkdir,mkdirat,link,linkat,rename,renameat,renameat2,unlink,unlinkat,fsync,fdatasync,ftruncate"
WRITES = "write,pwrite64,writev,pwritev,pwritev2"
COUNT = 8

_CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)(?:<(.*?)>)?")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FD = re.compile(r"^(\d+)<(.*?)>")
_TOLD = re.compile(r'"told ([0-9a-f]{64})')


@dataclass
class Content:
    """What a file holds: how often it was written, and up to which writing it was flushed."""

    written: int = 0
    durable: int = 0


@dataclass
class Model:
    """A file system that keeps only what it was told to keep."""

    home: str
    contents: dict[str, Content] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    durable_names: dict[str, set[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    told: int = 0

    def begin(self, name: str, arguments: str) -> object:
        """A call begins: what a flush can cover is settled now."""
        path = self._path_of_fd(arguments)
        if name in {"fsync", "fdatasync"} and path:
            return self.contents.setdefault(path, Content()).written, set(self.names.get(path, ()))
        if name in WRITES and (found := _TOLD.search(arguments)):
            self._check(found[1])
        return None

    def end(self, name: str, arguments: str, begun: object) -> None:
        """A call has succeeded."""
        paths = [found for found in _PATH.findall(arguments) if found.startswith("/")]
        if name in WRITES.split(",") or name == "ftruncate":
            path = self._path_of_fd(arguments)
            if path:
                self.contents.setdefault(path, Content()).written += 1
        elif name in {"fsync", "fdatasync"} and isinstance(begun, tuple):
            path = self._path_of_fd(arguments) or ""
            self.contents.setdefault(path, Content()).durable = begun[0]
            self.durable_names.setdefault(path, set()).update(begun[1])
        elif name.startswith(("mkdir", "openat")) and paths:
            if name != "openat" or "O_CREAT" in arguments:
                self._name(paths[0])
        elif name.startswith(("link", "rename")):
            self.contents[paths[1]] = self.contents.setdefault(paths[0], Content())
            self._name(paths[1])

    def _name(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        self.names.setdefault(parent, set()).add(name)

    def _path_of_fd(self, arguments: str) -> str | None:
        found = _FD.match(arguments)
        path = found[2].removesuffix(" (deleted)") if found else None
        return path if path and path.startswith(self.home) else None

    def _check(self, digest: str) -> None:
        """An instance is told of: everything that makes it findable and whole must be durable."""
        self.told += 1
        path = f"{self.home}/data/objects/{digest[:2]}/{digest[2:4]}/{digest}"
        content = self.contents.get(path)
        if content is None or content.durable < content.written:
            self.wrong.append(f"{digest[:8]}: its bytes were not flushed")
        self._check_names(digest, path)
        for needed in self._needed():
            found = self.contents.get(needed, Content())
            if found.durable < found.written:
                self.wrong.append(f"{digest[:8]}: {needed.rpartition('/')[2]} was not flushed")
            self._check_names(digest, needed)

    def _needed(self) -> list[str]:
        """What must be there to find and to prove: database and log of it, identity, keys."""
        here = [f"{self.home}/data/{name}" for name in ("openpriors.db", "openpriors.db-wal", "store-id")]
        return here + [f"{self.home}/data.keys/{name}" for name in self.names.get(f"{self.home}/data.keys", ())]

    def _check_names(self, digest: str, path: str) -> None:
        while path != self.home:
            parent, _, name = path.rpartition("/")
            if name not in self.durable_names.get(parent, ()):
                where = parent[len(self.home) :]
                self.wrong.append(f"{digest[:8]}: the name {name[:12]} was not flushed into {where or 'its parent'}")
            path = parent


def calls(trace: Iterator[str]) -> Iterator[tuple[str, int, str, str]]:
    """`begin` and `end` of each call in the order in which they happened: phase, thread, name, arguments."""
    open_calls: dict[int, str] = {}
    for line in trace:
        thread_text, _, rest = line.strip().partition(" ")
        thread, rest = int(thread_text), rest.strip()
        if rest.endswith("<unfinished ...>"):
            open_calls[thread] = rest.removesuffix("<unfinished ...>").rstrip()
            name, _, arguments = open_calls[thread].partition("(")
            yield "begin", thread, name, arguments
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", rest)
        whole = open_calls.pop(thread) + resumed[1] if resumed else rest
        found = _CALL.match(whole)
        if found is None:
            continue
        if not resumed:
            yield "begin", thread, found[1], found[2]
        if not found[3].startswith("-"):
            yield "end", thread, found[1], found[2]


def judge(home: Path, trace: Iterator[str]) -> Model:
    """Follow a trace."""
    model, begun = Model(str(home)), {}
    for phase, thread, name, arguments in calls(trace):
        if phase == "begin":
            begun[thread] = model.begin(name, arguments)
        else:
            model.end(name, arguments, begun.get(thread))
    return model


def run(seed: str | None) -> Model:
    """Import under strace, and follow what it did."""
    with tempfile.TemporaryDirectory(prefix="strict-") as home:
        root = Path(home).resolve()
        trace = root / "trace"
        command = ["strace", "-f", "-y", "-s", "128", "-o", trace, "-e", f"trace={CALLS},{WRITES}", sys.executable]
        command += ["-m", "tests.faults.strict_order", "--import", root, *(["--seed", seed] if seed else [])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with trace.open(encoding="utf-8", errors="replace") as lines:
            return judge(root, iter(lines))


def _import(root: Path, seed: str | None) -> None:
    store = opened(root, seed)
    import_and_tell(store, files(0, COUNT), _tell, one_by_one=True)
    close(store)


def _tell(digest: str) -> None:
    os.write(1, f"told {digest}\n".encode())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", choices=SEEDS)
    parser.add_argument("--import", dest="root", type=Path)
    arguments = parser.parse_args()
    if arguments.root:
        _import(arguments.root, arguments.seed)
        return 0
    model = run(arguments.seed)
    print(f"strict order, seed {arguments.seed or 'none'}: {model.told} acknowledged, {len(model.wrong)} violations")
    print(*model.wrong[:20], sep="\n")
    return bool(model.wrong) or model.told != COUNT


if __name__ == "__main__":
    sys.exit(main())
