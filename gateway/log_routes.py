"""The public part of the log: checkpoints and hash tiles, which hold no patient data (C2SP tlog-tiles)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from gateway.errors import NotAvailable

TILE: Final = re.compile(r"[0-9]{1,2}/(?:x[0-9]{3}/)*[0-9]{3}(?:\.p/[0-9]{1,3})?", re.ASCII)


def router(log_dir: Path) -> APIRouter:
    """Routes below /log, served from the files that the sequencer has published in `log_dir`."""
    routes = APIRouter(prefix="/log")

    @routes.api_route("/checkpoint", methods=["GET", "HEAD"])
    def checkpoint() -> Response:
        """The latest signed checkpoint."""
        return _file(log_dir / "checkpoint", "text/plain; charset=utf-8", "no-cache")

    @routes.api_route("/tile/{path:path}", methods=["GET", "HEAD"])
    def tile(path: str) -> Response:
        """One hash tile."""
        if not TILE.fullmatch(path):
            raise NotAvailable
        lasting = "public, max-age=31536000, immutable"
        return _file(log_dir / "tile" / path, "application/octet-stream", lasting)

    return routes


def _file(path: Path, media_type: str, caching: str) -> Response:
    if not path.is_file():
        raise NotAvailable
    return FileResponse(path, media_type=media_type, headers={"Cache-Control": caching})
