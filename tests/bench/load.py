"""Requests per second over several connections, by `wrk`: a client in C that no server here outruns."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from .peer import ServerFailed

PROGRAM = "wrk"
CONNECTIONS = 8
MARK = "BENCH-RESULT "

# One thread, so one `request` counter: the paths are asked for in turn, not each connection's first one first.
# The token stands in the script, not on the command line, where every process could read it.
SCRIPT = """
local at = 0
local paths = {}
for line in io.lines("PATHS") do paths[#paths + 1] = line end
function init(args)
  for i, path in ipairs(paths) do paths[i] = wrk.format("GET", path) end
end
function request()
  at = at % #paths + 1
  return paths[at]
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('MARK{"requests": %d, "microseconds": %d, "bytes": %d, "status": %d, "socket": %d, '
    .. '"p50": %d, "p99": %d}\\n', summary.requests, summary.duration, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one run of the load counted: bytes with response headers, times in microseconds."""

    requests: int
    microseconds: int
    bytes: int
    status: int  # responses that were not 2xx or 3xx
    socket: int  # connections that failed, and time-outs
    p50: int
    p99: int

    @property
    def per_second(self) -> float:
        return self.requests / self.microseconds * 1e6


def available() -> bool:
    return shutil.which(PROGRAM) is not None


def lua_string(text: str) -> str:
    return json.dumps(text)  # both escape quotes and backslashes alike; nothing else occurs in header fields


def script(headers: Mapping[str, str], paths: Path) -> str:
    fields = "".join(f"wrk.headers[{lua_string(name)}] = {lua_string(value)}\n" for name, value in headers.items())
    return fields + SCRIPT.replace("PATHS", str(paths)).replace("MARK", MARK)


def run(url: str, targets: Sequence[str], headers: Mapping[str, str], seconds: int) -> Load:
    """Ask `url` for the targets in turn, over 8 kept-alive connections, for some seconds."""
    parts = urlsplit(url)
    with TemporaryDirectory(prefix="bench-load-") as folder:
        paths, lua = Path(folder) / "paths", Path(folder) / "load.lua"
        paths.write_text("".join(f"{parts.path}{target}\n" for target in targets))
        lua.touch(mode=0o600)
        lua.write_text(script(headers, paths))
        command = [PROGRAM, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(lua)]
        ended = subprocess.run(
            [*command, f"{parts.scheme}://{parts.netloc}"],
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
        )
    found = [line[len(MARK) :] for line in ended.stdout.splitlines() if line.startswith(MARK)]
    if ended.returncode or not found:
        raise ServerFailed(f"{PROGRAM} failed: {ended.stdout}{ended.stderr}")
    return Load(**json.loads(found[0]))
