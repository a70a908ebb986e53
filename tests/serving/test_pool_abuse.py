"""What is tried against the pools, through the whole system: what counts, what is evidence, and who still gets places."""

from __future__ import annotations

from typing import Any

from config.keys import hash64
from config.records import SLOTS, Served, Slate, SlateItem
from serving.slate import packed
from tests.serving.system import System, event, note


def told(system: System, note_id: str) -> Any:
    return system.get(f"/v1/notes/{note_id}")


def shown(system: System, note_id: str, times: int, first: int = 0) -> None:
    """So many people see the note and do nothing."""
    system.send(*(event("impression", f"p{first + i}", note_id) for i in range(times)))


def test_a_thousand_impressions_of_one_user_are_one_exposure(system: System) -> None:
    """A thousand event ids for one user and note use up one exposure of the quota, and are evidence of one."""
    system.publish(note("n1", "a1"))
    before = told(system, "n1")["pool"]["left"]
    system.send(*(event("impression", "u1", "n1", event_id=f"forged-{i}") for i in range(1_000)))
    after = told(system, "n1")
    assert (after["counts"]["impression"], after["exposures"]["organic"], after["pool"]["left"]) == (1, 1, before - 1)


def test_authors_buy_nothing_with_their_own_likes(system: System) -> None:
    """What authors do with their own notes is counted, is no exposure that the tier owes, and moves no quality."""
    system.publish(note("n1", "a1"), note("n2", "a2"))
    for note_id in ("n1", "n2"):
        shown(system, note_id, 120)
    system.send(*(event(type, "a1", "n1") for type in ("impression", "click", "like", "collect", "share")))
    one, other = told(system, "n1"), told(system, "n2")
    assert one["counts"]["like"] == 1
    assert one["exposures"]["organic"] == other["exposures"]["organic"] == 120
    assert one["quality"] == other["quality"]


def test_likes_of_those_who_were_not_shown_a_note_are_no_evidence(system: System) -> None:
    """A hundred accounts like what they never saw: a hundred likes are counted, and the note fares as one without them."""
    system.publish(note("n1", "a1"), note("n2", "a2"))
    for note_id in ("n1", "n2"):
        shown(system, note_id, 60)
    system.send(*(event("like", f"bought{i}", "n1") for i in range(100)))
    for note_id in ("n1", "n2"):
        shown(system, note_id, 60, first=60)
    one, other = told(system, "n1"), told(system, "n2")
    assert (one["counts"]["like"], other["counts"]["like"]) == (100, 0)
    assert one["quality"] == other["quality"]
    assert [move["verdict"] for move in one["history"]] == [move["verdict"] for move in other["history"]]


def test_whether_a_like_or_its_impression_arrives_first_does_not_matter(system: System) -> None:
    """Apps send what they saw in bundles, later than what was tapped: the evidence is the same."""
    system.publish(note("n1", "a1"), note("n2", "a2"))
    likes, impressions = [
        [event(kind, f"p{k}", id) for id in ("n1", "n2") for k in range(0, 120, step)] for kind, step in (("like", 9), ("impression", 1))
    ]
    system.send(*(e for e in likes if e["note_id"] == "n1"))
    system.send(*impressions)
    system.send(*(e for e in likes if e["note_id"] == "n2"))
    system.publish(*({"note_id": id, "status": "deleted"} for id in ("n1", "n2")))
    one, other = told(system, "n1"), told(system, "n2")
    assert one["counts"] == other["counts"]
    assert one["history"][-1]["evidence"] == other["history"][-1]["evidence"]
    assert one["history"][-1]["evidence"]["observed"]["like"] == 14


def test_what_is_paid_is_known_from_the_slate_and_from_nothing_that_a_client_says(system: System) -> None:
    """Exposures of a sponsored place are counted apart and use no quota up; an event that calls itself sponsored is an exposure like any other."""
    system.publish(note("n1", "a1"))
    quota = told(system, "n1")["pool"]["left"]
    users = ["u1", "u2", "u3"]
    for user in users:
        sponsored(system, user, "n1", f"paid-{user}")
    system.send(*(event(type, user, "n1", request_id=f"paid-{user}") for user in users for type in ("impression", "like")))
    after = told(system, "n1")
    assert after["exposures"] == {"organic": 0, "paid": 3, "by_source": {}}
    assert (after["counts"]["like"], after["pool"]["left"]) == (3, quota)
    system.send(event("impression", "u4", "n1", slot="sponsored", sponsored=True, request_id="paid-u1"))
    after = told(system, "n1")
    assert (after["exposures"]["organic"], after["exposures"]["paid"], after["pool"]["left"]) == (1, 3, quota - 1)


def sponsored(system: System, user: str, note_id: str, request_id: str) -> None:
    """A slate in the log, as the API logs one, whose only place is paid for."""
    slate = Slate(request_id, "feed", [SlateItem(hash64(note_id), 0, SLOTS.index("sponsored"))], [], "", b"", b"")
    signal = Served(u=user, t=system.clock, id=hash64(request_id), slate=slate)
    system.run(system.producer.send("by-user", user.encode(), packed(signal, system.clock), hash64(user) % 2))
    system.pump()


def test_a_note_sent_to_review_in_the_middle_of_a_tier_stands_still_and_goes_on(system: System) -> None:
    """Nobody meets it meanwhile, nothing is decided, and afterwards it is owed what it was owed; deleted it is gone for good."""
    system.publish(*(note(f"n{i}", f"a{i}") for i in range(3)))
    shown(system, "n0", 40)
    system.publish({"note_id": "n0", "status": "under_review"})
    away = told(system, "n0")
    assert (away["pool"]["state"], away["pool"]["left"]) == ("paused", 0)
    shown(system, "n0", 100, first=40)  # pages that were open when it was sent there
    assert told(system, "n0")["history"][-1]["verdict"] == "paused"
    assert all("n0" not in system.ids(f"u{i}", n=3) for i in range(10))
    system.publish({"note_id": "n0", "status": "published"})
    back = told(system, "n0")
    assert [move["verdict"] for move in back["history"]][:3] == ["entered", "paused", "resumed"]
    system.publish({"note_id": "n1", "status": "deleted"})
    assert [move["verdict"] for move in told(system, "n1")["history"]] == ["entered", "deleted"]
    assert all("n1" not in system.ids(f"u{i}", n=3) for i in range(10))
    assert [move["seq"] for move in back["history"]] == list(range(1, len(back["history"]) + 1))


def test_a_user_never_meets_a_pool_note_twice() -> None:
    """Whoever looks at all there is meets each note once, then nothing: also where all places are the pools'."""
    system = System({"UPWELL_FEED__POOL_SHARE": "1.0"})
    try:
        system.publish(*(note(f"n{i}", f"a{i}") for i in range(40)))
        met: list[str] = []
        for _ in range(15):
            feed = system.feed("u1", n=4)
            ids = [item["note_id"] for item in feed["items"]]
            met += ids
            system.send(*(event("impression", "u1", id, request_id=feed["request_id"]) for id in ids))
        assert len(met) == len(set(met)) == 40
    finally:
        system.close()


def test_a_page_fetched_again_before_its_impressions_gives_no_pool_note_twice() -> None:
    """Impressions come in bundles, and some apps fetch ahead: as long as a slate stands, its pool notes are his already."""
    system = System({"UPWELL_FEED__POOL_SHARE": "1.0"})
    try:
        system.publish(*(note(f"n{i}", f"a{i}") for i in range(40)))
        given: list[str] = []
        for _ in range(system.settings.users.slates):
            given += system.ids("u1", n=4)
            system.pump()
        assert len(given) == len(set(given)) == 4 * system.settings.users.slates
    finally:
        system.close()


def test_new_creators_are_promised_more_exposures(system: System) -> None:
    """First notes, or few followers; who does not tell is promised the base."""
    base, bonus = system.settings.pool.tiers[0].quota, system.settings.pool.creator_bonus
    system.publish(
        note("first", "a1", author_notes=1, author_followers=5_000),
        note("small", "a2", author_notes=90, author_followers=2),
        note("known", "a3", author_notes=90, author_followers=5_000),
        note("silent", "a4"),
    )
    assert [told(system, id)["pool"]["quota"] for id in ("first", "small", "known", "silent")] == [base + bonus, base + bonus, base, base]


def test_what_followers_do_is_expected_of_them(system: System) -> None:
    """They are evidence, and more is expected: of two notes with the same clicks the one that fans gave them is not the better one."""
    system.publish(note("fans", "a1"), note("strangers", "a2"))
    system.send(*(event("follow", f"p{i}", author_id="a1") for i in range(110)))
    for note_id in ("fans", "strangers"):
        shown(system, note_id, 110)
        system.send(*(event("click", f"p{i}", note_id) for i in range(30)))
    fans, strangers = told(system, "fans"), told(system, "strangers")
    assert fans["exposures"]["organic"] == strangers["exposures"]["organic"] == 110
    assert fans["quality"]["mean"] < strangers["quality"]["mean"]
