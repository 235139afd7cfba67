"""A gateway that is killed in the middle of retrieves leaves a record of all that it may have sent."""

from __future__ import annotations

import random

from tests.story.hospital import Hospital
from tests.story.retrieve_kills import furnish, kill_once, restart, settle, verify

TIMES = 3


def test_what_was_received_before_a_kill_is_on_record_and_every_intent_ends_once(home: Hospital) -> None:
    named, chance, responses = furnish(home), random.Random(7), 0
    server = home.serve()
    for number in range(TIMES):
        done = kill_once(home, server, named, chance)
        server = restart(home, beside=number == TIMES - 1)
        settle(home, done)
        assert done.problems == []
        responses += len(done.received)
    assert responses, "something was received"
    assert verify(home) == []
