"""What the client may not do by itself: ask Kafka where it stands, and wait for somebody to take its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from aiokafka.structs import TopicPartition
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from streams.transport import GroupLost, stand_still, take_errors
from tests import parts


def test_a_partition_that_is_assigned_stands_still_and_asks_nobody_where() -> None:
    """Every time it is assigned; its owner's seek sets it going."""

    async def main() -> None:
        subscriptions, ours = SubscriptionState(), TopicPartition("t", 0)
        stand_still(subscriptions)
        subscriptions.subscribe({"t"})
        for _ in range(2):
            subscriptions.assign_from_subscribed({ours})
            assignment = subscriptions.subscription.assignment
            state = assignment.state_value(ours)
            assert (state.paused, state.has_valid_position, assignment.requesting_committed()) == (True, True, [])
            subscriptions.begin_reassignment()

    asyncio.run(main())


async def until(true: Callable[[], Awaitable[bool]], patience_s: float = 20.0) -> None:
    async with asyncio.timeout(patience_s):
        while True:
            if await true():
                return
            await asyncio.sleep(0.02)


async def joined(consumer: Any) -> None:
    await until(partial(take_errors, consumer))


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    parts.need(parts.broker_program)
    with parts.EmbeddedBroker(tmp_path / "broker") as running:
        admin = KafkaAdminClient(bootstrap_servers=running.address)
        admin.create_topics([NewTopic("t", 1, 1)])
        admin.close()
        yield running


def member(address: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        "t", bootstrap_servers=address, group_id="g", enable_auto_commit=False, rebalance_timeout_ms=1_000, heartbeat_interval_ms=100
    )


def failing_once(consumer: AIOKafkaConsumer, error: Exception) -> None:
    """The broker's next answer to a heartbeat is one that the client does not know what to do with."""
    coordinator: Any = consumer._coordinator
    heartbeat = coordinator._do_heartbeat

    async def fails() -> bool:
        coordinator._do_heartbeat = heartbeat
        raise error

    coordinator._do_heartbeat = fails


def test_an_error_that_the_coordinator_waits_with_is_taken_and_the_group_joined_anew(broker: Any) -> None:
    async def main() -> None:
        consumer = member(broker.address)
        await consumer.start()
        try:
            await joined(consumer)
            failing_once(consumer, KafkaError("an answer nobody expects"))

            async def waits() -> bool:
                return consumer._coordinator._pending_exception is not None

            await until(waits)
            assert not await take_errors(consumer), "without heartbeats it is no member"
            await joined(consumer)
        finally:
            await consumer.stop()

    asyncio.run(main())


def test_a_group_that_is_closed_to_the_worker_is_said_and_not_asked_again(broker: Any) -> None:
    async def main() -> None:
        consumer = member(broker.address)
        await consumer.start()
        try:
            await joined(consumer)
            failing_once(consumer, GroupAuthorizationFailedError("g"))

            async def never() -> bool:
                await take_errors(consumer)
                return False

            with pytest.raises(GroupLost, match="group g"):
                await until(never)
        finally:
            await consumer.stop()

    asyncio.run(main())
