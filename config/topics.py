"""Topic names, who writes them, and how they are kept. The one place that names a topic."""

from __future__ import annotations

from typing import NamedTuple


class Topic(NamedTuple):
    name: str
    """short name; the full one has the prefix: ``upwell.events``"""
    public: bool
    retention_days: int
    """-1: for ever"""
    single: bool = False
    """always one partition"""
    api: bool = False
    """the API writes to it"""


TOPICS = {
    t.name: t
    for t in (
        Topic("events", True, -1, api=True),
        Topic("notes", True, -1, api=True),
        Topic("transitions", True, 30),
        Topic("dead", True, 30),
        Topic("by-user", False, -1, api=True),
        Topic("by-note", False, -1),
        Topic("by-list", False, -1),
        Topic("by-pair", False, -1),
        Topic("examples", False, -1, single=True),
    )
}

STAGES = {
    "intake": ("events", "notes"),
    "users": ("by-user",),
    "notes": ("by-note",),
    "lists": ("by-list",),
    "neighbours": ("by-pair",),
    "learner": ("examples",),
}
"""Stage -> its input topics. The consumer group of a stage is ``<prefix>.<stage>``."""


def full(prefix: str, name: str) -> str:
    return f"{prefix}.{name}"


def group(prefix: str, stage: str) -> str:
    return f"{prefix}.{stage}"
