"""A gateway with a leak on purpose: answers about named things leave a moment later. For tests of the tests alone.

python -m tests.story.leaky --data DIR --words FILE --delay-ms 1 --port P
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import serve
from gateway.app import make_app
from gateway.parts import open_parts
from gateway.settings import Settings


class Leaky:
    """Delays the answer to a request that names one of the words."""

    def __init__(self, app: ASGIApp, words: list[str], delay_s: float) -> None:
        self._app = app
        self._words = words
        self._delay_s = delay_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = unquote(f"{scope.get('path', '')}?{scope.get('query_string', b'').decode('latin-1')}")
        named = any(word in asked for word in self._words)

        async def send_later(message: Message) -> None:
            if named and message["type"] == "http.response.start":
                await asyncio.sleep(self._delay_s)
            await send(message)

        await self._app(scope, receive, send_later)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--words", type=Path)
    parser.add_argument("--delay-ms", type=float)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    settings = Settings(data=given.data, public_url=f"http://127.0.0.1:{given.port}")
    parts = open_parts(settings, lambda: time.time_ns() // 1000)
    app = Leaky(make_app(parts), given.words.read_text().split("\n"), given.delay_ms / 1000)
    try:
        serve.run(app, host="127.0.0.1", port=given.port)
    finally:
        parts.close()


if __name__ == "__main__":
    main()
