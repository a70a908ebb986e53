"""A demo town: people with hidden tastes who publish, scroll, like and follow through the real API, about 50 events a second.

The town (`Town`) is pure and seeded: who lives there, what they like, how good a note really is. The shell walks its people through
HTTP. What the system learns can be compared with what it cannot see: tastes by tag, and a note's quality.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

WORLD = {
    "food": ("ramen", "baking", "coffee", "soup", "vegan"),
    "outdoor": ("hiking", "camping", "climbing", "cycling", "birds"),
    "home": ("ceramics", "plants", "repair", "small-flats", "candles"),
    "beauty/skincare": ("sunscreen", "dry-skin", "routine", "night-cream", "masks"),
    "city": ("museums", "rooftops", "markets", "night-walks", "bookshops"),
    "craft": ("knitting", "woodwork", "film-photo", "watercolour", "sewing"),
}
"""Channel -> its tags."""

TITLES = (
    "What I learned about {}",
    "{}, the easy way",
    "Three mistakes with {}",
    "My first {} week",
    "A quiet morning with {}",
    "{} for beginners",
)
NAMES = (
    "mia",
    "noah",
    "lina",
    "omar",
    "yuki",
    "ben",
    "aya",
    "tom",
    "zoe",
    "max",
    "ida",
    "sam",
    "eva",
    "leo",
    "kim",
    "ron",
    "ana",
    "jon",
    "may",
    "ali",
)

PEOPLE = 300
"""So many that nobody has seen everything: a visit every 83 s takes nine notes, while ten are published."""
AUTHORS = 30
FIRST_NOTES = 40
VISITS_PER_SECOND = 3.6
"""Of about 14 events each."""
NOTE_EVERY_S = 8.0

FIRST_PERSON = "mia-0"
FIRST_NOTE = "ramen-0"


class Person(NamedTuple):
    id: str
    tastes: dict[str, float]
    """tag -> log-odds that it adds to a click"""


class Note(NamedTuple):
    id: str
    author: str
    channel: str
    tags: tuple[str, ...]
    title: str
    quality: float
    """hidden, standard normal: moves every rate"""


class Town:
    """Who lives here and what is published; every draw comes from one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        tags = [tag for group in WORLD.values() for tag in group]
        self.people = []
        for n in range(PEOPLE):
            loved = self.rng.sample(tags, 4)
            self.people.append(Person(f"{NAMES[n % len(NAMES)]}-{n}", {tag: self.rng.uniform(0.8, 2.0) for tag in loved}))
        self.authors = self.people[:AUTHORS]
        self.notes: dict[str, Note] = {}

    def publish(self) -> Note:
        """The next note: an author writes about what they love."""
        number, rng = len(self.notes), self.rng
        author = rng.choice(self.authors)
        tag = "ramen" if number == 0 else rng.choice(list(author.tastes))
        channel = next(name for name, group in WORLD.items() if tag in group)
        others = [other for other in WORLD[channel] if other != tag]
        title = rng.choice(TITLES).format(tag.replace("-", " "))
        note = Note(
            f"{tag}-{number}",
            author.id,
            channel,
            (tag, *rng.sample(others, rng.randint(0, 2))),
            title[:1].upper() + title[1:],
            rng.gauss(0, 1),
        )
        self.notes[note.id] = note
        return note

    def visitor(self) -> Person:
        return self.rng.choice(self.people)

    def reaction(self, person: Person, note: Note | None, place: int) -> list[dict[str, Any]]:
        """What a person does with a note that is shown to them, first the impression; without user, note and request."""
        rng = self.rng
        did: list[dict[str, Any]] = [{"type": "impression"}]
        if note is None:
            return did
        match = sum(person.tastes.get(tag, 0.0) for tag in note.tags)
        pull = 0.6 * note.quality + match - 0.5
        if not chance(rng, -1.9 + pull - 0.05 * place):
            if pull < -1.5 and rng.random() < 0.02:
                did.append({"type": "hide"})
            return did
        completion = min(1.0, max(0.05, rng.gauss(0.45 + 0.15 * pull, 0.25)))
        did += [{"type": "click"}, {"type": "view", "dwell_ms": int(30_000 * completion), "completion": round(completion, 2)}]
        wants = {"like": -3.5, "collect": -4.1, "comment": -5.2, "share": -5.4}
        for type_, odds in wants.items():
            if chance(rng, odds + 0.8 * pull):
                did.append({"type": type_} | ({"comment_id": f"c{rng.getrandbits(40):x}"} if type_ == "comment" else {}))
        if did[-1]["type"] == "like" and rng.random() < 0.03:
            did.append({"type": "unlike"})
        if chance(rng, -5.8 + 0.8 * pull):
            did.append({"type": "follow", "author_id": note.author})
        return did


def chance(rng: random.Random, log_odds: float) -> bool:
    return rng.random() < 1 / (1 + math.exp(-log_odds))


class Walk:
    """The shell: the town's people on a running API."""

    def __init__(self, town: Town, address: str, key: str) -> None:
        self.town, self.address = town, address
        self.headers = {"X-API-Key": key} if key else {}
        self.random = random.Random(0)  # paces only; what people do comes from the town

    async def run(self) -> None:
        import aiohttp

        async with aiohttp.ClientSession(self.address, headers=self.headers, timeout=aiohttp.ClientTimeout(total=5)) as self.http:
            await self.publish([self.town.publish() for _ in range(FIRST_NOTES)])
            visits: set[asyncio.Task[None]] = set()
            next_note = asyncio.get_running_loop().time() + NOTE_EVERY_S
            while True:
                await asyncio.sleep(self.random.expovariate(VISITS_PER_SECOND))
                if len(visits) < 40:
                    task = asyncio.create_task(self.visit(self.town.visitor()))
                    visits.add(task)
                    task.add_done_callback(visits.discard)
                if asyncio.get_running_loop().time() >= next_note:
                    next_note += NOTE_EVERY_S
                    await self.publish([self.town.publish()])

    async def post(self, path: str, body: Sequence[dict[str, Any]]) -> None:
        """Until it is accepted: an API that is started anew is waited for."""
        import aiohttp

        for pause in (0.2, 0.5, 1.0, 2.0, 4.0):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.http.post(path, json=body) as answer:
                    if answer.status < 500:
                        return
            await asyncio.sleep(pause)

    async def publish(self, notes: Sequence[Note]) -> None:
        shown = [
            {
                "note_id": n.id,
                "author_id": n.author,
                "channel": n.channel,
                "tags": n.tags,
                "title": n.title,
                "status": "published",
                "media": "image",
            }
            for n in notes
        ]
        await self.post("/v1/notes", shown)

    async def visit(self, person: Person) -> None:
        """A person scrolls through one feed, three notes at a time."""
        import aiohttp

        try:
            async with self.http.get(f"/v1/feed/{person.id}", params={"n": "9"}) as answer:
                if answer.status != 200:
                    return
                feed = await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return
        items = feed["items"]
        for first in range(0, len(items), 3):
            events = []
            for item in items[first : first + 3]:
                note = self.town.notes.get(item["note_id"])
                for did in self.town.reaction(person, note, item["position"]):
                    where = {
                        "user_id": person.id,
                        "note_id": item["note_id"],
                        "request_id": feed["request_id"],
                        "position": item["position"],
                    }
                    events.append(did | where | {"surface": "feed"})
            await self.post("/v1/events", events)
            await asyncio.sleep(self.random.uniform(0.3, 1.2))


def run(address: str, key: str, seed: int) -> None:
    """Until SIGTERM."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Walk(Town(seed), address, key).run())
