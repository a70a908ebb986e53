"""How every process logs: one line an event of note, on standard error, nothing while all is well.

    2026-01-31T18:00:00Z warning  kafka is away    reason=… request_id=…                  text
    {"at":"2026-01-31T18:00:00Z","level":"warning","logger":"serving","event":"kafka is away","reason":"…","request_id":"…"}     json

Lines of libraries (aiokafka, kafka, uvicorn) take the same way. A traceback names files and lines and never the values of variables:
settings and addresses with passwords are among them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

from config.settings import Log

Line = MutableMapping[str, Any]
NOISY = {
    "aiokafka": logging.CRITICAL,
    "aiokafka.consumer": logging.ERROR,
    "aiokafka.producer": logging.ERROR,
    "kafka": logging.ERROR,
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "asyncio": logging.WARNING,
    # Faust's services log under the module of the class that extends them: each start and stop of a consumer.
    "streams": logging.WARNING,
}
"""What these say when a broker is away is said by ourselves, once."""


def one_line(logger: Any, method: str, line: Line) -> str:
    """For people: time, level, what happened, then the rest; a line break inside a value does not begin a new event."""
    head = f"{line.pop('at')} {line.pop('level'):8} {line.pop('event')}"
    name, trace = line.pop("logger", ""), line.pop("exception", "")
    rest = " ".join(f"{key}={value}" for key, value in line.items())
    text = f"{head}  [{name}] {rest}".rstrip().replace("\n", "\\n")
    return f"{text}\n{trace}" if trace else text


def json_line(logger: Any, method: str, line: Line) -> str:
    """For programs."""
    first = ("at", "level", "logger", "event")
    ordered = {key: line.pop(key) for key in first if key in line} | dict(line)
    return orjson.dumps(ordered, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def for_a_command(log: Log) -> None:
    """For a command that is no service: its answer has standard output to itself, and of our own events only what is wrong is of note. What
    libraries say, it says itself."""
    level = logging.getLevelNamesMapping()[log.level.upper()]
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if level == logging.INFO else level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def configure(log: Log) -> None:
    """For this process, our own events and those of libraries alike."""
    as_json = log.format == "json" or (log.format == "auto" and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[log.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper("iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, json_line if as_json else one_line],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in NOISY.items():
        logging.getLogger(name).setLevel(max(least, level))
