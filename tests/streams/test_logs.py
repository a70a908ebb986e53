"""What a worker asks of the broker beside its logs: one question that is never answered holds up no other."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from config import settings as config
from streams.logs import BrokerError, Logs, LogsAside, TopicsMissing
from tests import parts


def test_a_question_that_is_never_answered_is_given_up_and_the_next_one_begins_anew(tmp_path: Path) -> None:
    parts.need(parts.broker_program)
    released = threading.Event()

    def never(logs: Logs) -> None:
        released.wait(60)

    async def main() -> None:
        logs = LogsAside(config.load(environ={"UPWELL_KAFKA": broker.address}).kafka)
        with pytest.raises(BrokerError, match="did not answer within"):
            await logs.ask(never, patience_s=0.05)
        with pytest.raises(TopicsMissing):  # an answer, from a broker that has none of them yet
            await logs.ask(Logs.all)

    with parts.EmbeddedBroker(tmp_path / "broker") as broker:
        try:
            asyncio.run(main())
        finally:
            released.set()
