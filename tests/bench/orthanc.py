"""Debian's Orthanc with its DICOMweb plugin, asked directly: no authorization, no consent, no audit."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .client import whole
from .dataset import Bench
from .peer import end, free_port, wait_ready
from .stow import BATCH, stow

PROGRAM = "Orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
RESTART_S = 2.5  # its SQLite lock outlives it a little

# Its own defaults where they are the fast choice, named because they matter; what differs from a default says so.
FAIR = {
    "HttpThreadsCount": 50,  # default
    "KeepAlive": True,  # default
    "TcpNoDelay": True,  # default
    "HttpCompressionEnabled": True,  # default: used only by a client that accepts gzip
    "MaximumStorageCacheSize": 1024,  # default 128: a whole large study fits
    "StorageAccessOnFind": "Never",  # default Always: searches use its database alone
    "StoreMD5ForAttachments": False,  # default true
    "SyncStorageArea": True,  # default: a stored file is synced, as OpenPriors does; its index is not
    "MetricsEnabled": False,  # default true
}


def load(url: str, files: Sequence[Path]) -> None:
    """Store many files, ten requests' bodies in memory at once."""
    for at in range(0, len(files), 10 * BATCH):
        stow(url, {}, files[at : at + 10 * BATCH])


class Orthanc:
    """One Orthanc in one of the three metadata modes of its plugin, 1.7: Full, Extrapolate, MainDicomTags."""

    def __init__(self, home: Path, mode: str = "Full", *, copy_of: Orthanc | None = None) -> None:
        self.name = "orthanc" if mode == "Full" else f"orthanc-{mode}"
        self.home, self.mode, self.copy_of = home, mode, copy_of
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    @property
    def pid(self) -> int:
        assert self.process is not None, "asked only while it runs"
        return self.process.pid

    def headers(self) -> Mapping[str, str]:
        return {}

    def configuration(self) -> dict[str, object]:
        return {
            "Name": "bench",
            "HttpPort": self.port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": False,
            "StorageDirectory": str(self.home / "storage"),
            "IndexDirectory": str(self.home / "storage"),
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", **self.metadata_modes()},
            **FAIR,
        }

    def metadata_modes(self) -> dict[str, object]:
        return {"QidoCaseSensitive": False, "StudiesMetadata": self.mode, "SeriesMetadata": self.mode}

    def start(self, bench: Bench) -> None:
        """Serve; the first of a kind loads the studies through STOW-RS, another copies what it holds."""
        self.home.mkdir(parents=True, exist_ok=True)
        if self.copy_of is not None:
            source = self.copy_of
            source.stop()
            shutil.copytree(source.home / "storage", self.home / "storage")
            time.sleep(RESTART_S)
            source.serve()
        self.serve()
        if self.copy_of is None:
            load(self.url, bench.paths([*bench.large, *bench.small]))

    def serve(self) -> None:
        path, log = self.home / "orthanc.json", self.home / "orthanc.log"
        path.write_text(json.dumps(self.configuration()))
        with log.open("ab") as out:
            self.process = subprocess.Popen([PROGRAM, str(path)], stdout=out, stderr=out, cwd=self.home)
        wait_ready(f"http://127.0.0.1:{self.port}/system", self.process, log)

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)
            self.process = None

    def load_slow(self, bench: Bench) -> None:
        load(self.url, bench.paths(bench.slow))

    def store(self, files: Sequence[Path]) -> float:
        return stow(self.url, {}, files)

    def settings(self) -> Mapping[str, object]:
        root = f"http://127.0.0.1:{self.port}"
        plugin = json.loads(whole(f"{root}/plugins/dicom-web", {}).body)["Version"]
        version = json.loads(whole(f"{root}/system", {}).body)["Version"]
        return {"Orthanc": version, "DICOMweb plugin": plugin, **self.metadata_modes(), **FAIR}
