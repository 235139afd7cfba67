"""Walks through the pages of a search: the next page begins after the last row that was told, not at a count.

Between two pages a study may arrive, or be hidden. By `offset` alone a row would then come twice or never; by the place
where the page before ended, every row that stays is met exactly once. Places are kept in this process and by
credential; where none is known, the offset counts (PS3.18 8.3.4.4).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final

from storage.model import Found, Place, Query

KEPT: Final = 1024


class Walks:
    """Where the pages of late ended."""

    def __init__(self) -> None:
        self._ends: OrderedDict[tuple[str, Query], Place] = OrderedDict()

    def resumed(self, credential: str, query: Query) -> Query:
        """The query as it goes on from the page before, if that page was told here."""
        if not query.offset:
            return query
        return replace(query, after=self._ends.get((credential, _at(query, query.offset))))

    def remember(self, credential: str, query: Query, found: Found) -> None:
        """Keep where this page ended; the oldest place goes when there are too many."""
        if not found.objects or found.last is None:
            return
        key = (credential, _at(query, query.offset + len(found.objects)))
        self._ends[key] = found.last
        self._ends.move_to_end(key)
        if len(self._ends) > KEPT:
            self._ends.popitem(last=False)


def _at(query: Query, offset: int) -> Query:
    """The search itself at an offset, however long its pages are."""
    return replace(query, offset=offset, limit=0, after=None)
