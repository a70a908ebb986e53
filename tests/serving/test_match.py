"""Which pool note meets which user."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from msgspec import structs

from config import settings as config
from serving.feed import nobody
from serving.match import match
from store.layout import NOTE
from tests.serving.system import System, event, note

RULES = config.load(environ={}).feed
NOTHING = np.zeros(3, np.float32)


def records(**columns: object) -> np.ndarray:
    notes = np.zeros(3, NOTE)
    notes["lat"] = notes["lon"] = np.nan
    for name, values in columns.items():
        notes[name] = values
    return notes


def test_of_whom_nothing_is_known_fits_everything_alike() -> None:
    """Neither place nor language of a note count then, nor those of a user where the note names none."""
    somewhere = records(lat=[31.2, 40.0, np.nan], lon=[121.5, 116.0, np.nan], language=[b"zh", b"en", b""])
    assert match(nobody(0), somewhere, NOTHING, RULES).tolist() == [0.0, 0.0, 0.0]
    spoken = structs.replace(nobody(0), lat=31.2, lon=121.5, recent=records(language=[b"zh", b"zh", b""]))
    assert match(spoken, records(), NOTHING, RULES).tolist() == [0.0, 0.0, 0.0]


def test_a_note_of_the_neighbourhood_fits_better() -> None:
    """One at the user's own place, a few kilometres away, and in another city."""
    here = structs.replace(nobody(0), lat=31.2, lon=121.5)
    found = match(here, records(lat=[31.2, 31.24, 40.0], lon=[121.5, 121.5, 116.0]), NOTHING, RULES)
    assert found[0] == pytest.approx(1.0, abs=1e-3)
    assert found[0] > found[1] > 0.5
    assert found[2] < 1e-6


def test_notes_meet_a_user_by_the_share_of_his_engagements_in_their_language() -> None:
    """Two in Chinese, one in English: three to two to one, with the one that is added to each."""
    reader = structs.replace(nobody(0), recent=records(language=[b"zh", b"en", b"zh"]))
    found = match(reader, records(language=[b"zh", b"en", b"fr"]), NOTHING, RULES)
    chances = np.exp(RULES.pool_match * found)
    assert chances / chances[2] == pytest.approx([3.0, 2.0, 1.0])


def test_readers_of_a_language_meet_its_pool_notes_and_now_and_then_others() -> None:
    """Through the whole system: of equal notes, those in the language of what was taken come first; the others are not shut out."""
    # A note is not withheld for having been given a moment ago: every draw is among equals.
    system = System({"UPWELL_FEED__POOL_SHARE": "1.0", "UPWELL_FEED__POOL_AHEAD": "1.0"})
    try:
        system.publish(*(note(f"{code}{i}", f"{code}{i}", language=code) for i in range(60) for code in ("zh-CN", "EN")))
        readers = [f"u{i}" for i in range(12)]
        for user in readers:
            system.send(*(event(type, user, f"EN{i}") for i in range(5) for type in ("impression", "click")))
        met: Counter[str] = Counter()
        for user in readers:
            items = system.feed(user, n=6, explain=True)["items"]
            met.update(item["note_id"][:2] for item in items if item["explain"]["slot"] == "pool")
        assert met["EN"] > 1.5 * met["zh"]
        assert met["zh"] > 0
    finally:
        system.close()
