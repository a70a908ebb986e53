"""The records of a fetch, made as the owners want them.

aiokafka makes a frozen dataclass of eleven fields for every record, which costs more than the folding of some. Its walk over the batches
(checksums, aborted transactions, control records) is kept; only the last step is another one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from streams.stage import Record

LOG_APPEND_TIME = 1
"""A record's time stamp is the broker's."""

new = tuple.__new__
"""A named tuple's own constructor takes twice as long."""


class Fetched(OrderedDict[Any, Any]):
    """Topic partition -> what was fetched of it and not taken yet: a fetcher's own table, in which each result learns how to make records."""

    def __setitem__(self, tp: Any, result: Any) -> None:
        records = getattr(result, "_partition_records", None)
        if records is not None:
            records._consumer_record = maker(tp.topic, tp.partition)
        super().__setitem__(tp, result)


def maker(topic: str, partition: int) -> Callable[[Any, Any], Record]:
    """How records of one fetch are made: short name of the topic, and the time of reading where the broker does not stamp."""
    name, read_at = topic.rpartition(".")[2], int(time.time() * 1000)

    def record(_: Any, r: Any) -> Record:
        stamp = r.timestamp if r.timestamp_type == LOG_APPEND_TIME else read_at
        return new(Record, (name, partition, r.offset, stamp, r.key, r.value, tuple(r.headers)))

    return record
