"""Real input with places: the Foursquare check-ins of data D, as events and notes of the contract.

A place is a note with coordinates and its category as its tag, published a second before its first check-in; a trajectory is a user; a
check-in is an impression and a view there, with the place's coordinates, which become where the user was last. The data comes from a
package on PyPI under the GPL, is read for evaluation only, and is not part of this repository.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from tools import wheels

PACKAGE = "mat-data==0.1rc6"
TABLE = "matdata/assets/sample/Foursquare_Sample.csv"
SHA256 = "e425419d872e2ffb"
"""How the checksum of the table begins."""


class CheckIn(NamedTuple):
    user: str
    lat: float
    lon: float
    at: int
    """epoch ms"""
    kind: str
    """root of the place's category"""
    category: str

    @property
    def place(self) -> str:
        """Places have no ids of their own: the same coordinates and category are the same place."""
        return f"place-{self.lat:.6f}-{self.lon:.6f}-{self.category.lower().replace(' ', '-')}"[:120]


def fetch(folder: Path) -> str:
    """The table as text; downloaded once into `folder`. Raises `Mistake`."""
    (table,) = wheels.tables(folder, PACKAGE, [TABLE], SHA256, "check-ins")
    return table


def check_ins_from(table: str) -> list[CheckIn]:
    """By time; of the same second in the order of the table."""
    found = []
    for row in csv.DictReader(table.splitlines()):
        lat, lon = map(float, row["lat_lon"].split())
        at = datetime.fromisoformat(row["date_time"]).replace(tzinfo=UTC)
        found.append(CheckIn(row["tid"], lat, lon, int(at.timestamp()) * 1000, row["root_type"], row["type"]))
    return sorted(found, key=lambda one: one.at)


def notes(check_ins: Iterable[CheckIn]) -> Iterator[bytes]:
    """The places as JSON lines, by time of publication."""
    known: set[str] = set()
    for one in check_ins:
        if one.place not in known:
            known.add(one.place)
            body = {
                "note_id": one.place, "author_id": f"owner-{one.place}"[:128], "timestamp": one.at - 1000, "status": "published",
                "title": one.category, "tags": [one.category.lower()], "channel": one.kind.lower(), "lat": one.lat, "lon": one.lon,
            }  # fmt: skip
            yield msgspec.json.encode(body) + b"\n"


def events(check_ins: Iterable[CheckIn]) -> Iterator[bytes]:
    """Two events a check-in, as JSON lines, by time."""
    for one in check_ins:
        base = {"user_id": f"path-{one.user}", "note_id": one.place, "timestamp": one.at, "lat": one.lat, "lon": one.lon}
        for type in ("impression", "view"):
            yield msgspec.json.encode({"type": type, **base}) + b"\n"


def write(folder: Path, table: str) -> tuple[Path, Path]:
    """Both files, ``places.jsonl`` and ``checkins.jsonl``."""
    check_ins = check_ins_from(table)
    places, log = folder / "places.jsonl", folder / "checkins.jsonl"
    places.write_bytes(b"".join(notes(check_ins)))
    log.write_bytes(b"".join(events(check_ins)))
    return places, log
