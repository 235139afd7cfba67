"""Refusals and empty answers leave on a beat, so that the time they take tells nothing (law 4).

What differs between an absent study and a forbidden one is a few microseconds inside the database. An answer that
always waits for the next multiple of the beat since its request began gives none of them away.
"""

from __future__ import annotations

import asyncio
import math
import time


async def until_beat(began: float, beat_s: float) -> None:
    """Wait until a whole number of beats has passed since `began` (seconds of the monotonic clock)."""
    beats = max(1, math.ceil((time.monotonic() - began) / beat_s))
    await asyncio.sleep(began + beats * beat_s - time.monotonic())
