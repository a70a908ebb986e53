"""Sources that read more than lists: behaviour, friends, and what is similar to a note."""

from __future__ import annotations

from typing import Any

from tests.serving.system import System, event, note


def codes(item: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in item["reasons"]]


def pairs(system: System) -> None:
    """Fifty notes without anything in common; five people like n1, n2 and n3 one after the other."""
    system.publish(*(note(f"n{i}", f"a{i}") for i in range(50)))
    system.send(*(event("like", f"u{k}", f"n{i}") for k in range(5) for i in (1, 2, 3)))


def test_an_engagement_brings_what_others_took_beside_it(system: System) -> None:
    """The next feed after a like has that note's neighbours on top, and says why."""
    pairs(system)
    system.send(event("like", "me", "n1"))
    items = system.feed("me", n=20, explain=True)["items"]
    brought = {item["note_id"]: item for item in items if "behaviour" in item["explain"]["sources"]}
    assert set(brought) == {"n2", "n3"}
    assert all("behaviour" in codes(item) for item in brought.values())


def test_the_profile_stays_shut_when_not_personalized(system: System) -> None:
    """Without personalisation nothing is read beside recent notes."""
    pairs(system)
    system.send(event("like", "me", "n1"))
    assert system.request("PUT", "/v1/users/me/settings", json={"personalized": False}).status_code == 202
    system.pump()
    assert not any("behaviour" in item["explain"]["sources"] for item in system.feed("me", n=50, explain=True)["items"])


def test_similar_notes_come_most_similar_first(system: System) -> None:
    """A note next to it in everybody's history is more similar than one a step further; the note itself is never there."""
    pairs(system)
    system.send(event("like", "u9", "n4"), event("like", "u9", "n1"))
    found = system.get("/v1/notes/n1/similar")
    assert [item["note_id"] for item in found["items"]] == ["n2", "n3", "n4"]
    assert found["surface"] == "similar"
    assert system.get("/v1/notes/n40/similar")["items"] == []
    assert system.get("/v1/notes/nowhere/similar")["items"] == []
    assert [item["note_id"] for item in system.get("/v1/notes/n1/similar", exclude="n2", n=1)["items"]] == ["n3"]


def test_similar_notes_leave_out_what_the_asker_blocked(system: System) -> None:
    """With `user_id` a blocked author's notes are not similar to anything."""
    pairs(system)
    system.send(event("block", "me", author_id="a2"))
    assert "n2" not in [item["note_id"] for item in system.get("/v1/notes/n1/similar", user_id="me")["items"]]


def test_what_friends_collect_is_brought_in_their_name(system: System) -> None:
    """A note that a followed user likes, collects or shares comes with who did it; what is taken back does not."""
    system.publish(*(note(f"n{i}", f"a{i}") for i in range(30)))
    system.send(event("follow", "me", author_id="ann"))
    system.send(event("collect", "ann", "n7"), event("like", "ann", "n8"), event("unlike", "ann", "n8"), event("view", "ann", "n9"))
    items = {item["note_id"]: item for item in system.feed("me", n=50, explain=True)["items"]}
    assert {"code": "friend", "user_id": "ann", "action": "collect"} in items["n7"]["reasons"]
    assert [name for name, item in items.items() if "friends" in item["explain"]["sources"]] == ["n7"]


def test_of_several_friends_the_last_to_act_is_named(system: System) -> None:
    """One note, two friends: one reason."""
    system.publish(*(note(f"n{i}", f"a{i}") for i in range(10)))
    system.send(event("follow", "me", author_id="ann"), event("follow", "me", author_id="bob"))
    system.send(event("collect", "ann", "n7"), event("share", "bob", "n7"))
    (item,) = [item for item in system.feed("me")["items"] if item["note_id"] == "n7"]
    assert [reason["user_id"] for reason in item["reasons"] if reason["code"] == "friend"] == ["bob"]


def test_whom_one_does_not_want_to_hear_of_is_no_friend(system: System) -> None:
    """Blocked or hidden, though still followed: nothing comes in his name."""
    system.publish(*(note(f"n{i}", f"a{i}") for i in range(10)))
    system.send(*(event("follow", user, author_id="ann") for user in ("me", "you")), event("collect", "ann", "n7"))
    system.send(event("block", "me", author_id="ann"), event("hide", "you", "n9", scope="author", author_id="ann"))
    for user in ("me", "you"):
        items = system.feed(user, explain=True)["items"]
        assert not [item for item in items if "friend" in codes(item) or "friends" in item["explain"]["sources"]]


def test_whoever_follows_himself_is_no_friend(system: System) -> None:
    """One's own actions are no recommendation."""
    system.publish(*(note(f"n{i}", f"a{i}") for i in range(10)))
    system.send(event("follow", "me", author_id="me"), event("collect", "me", "n7"))
    assert not any("friends" in item["explain"]["sources"] for item in system.feed("me", explain=True)["items"])


def test_a_feed_takes_four_round_trips_with_every_source(system: System) -> None:
    """Three to decide, one for text, however many sources read."""
    pairs(system)
    system.send(event("follow", "me", author_id="u1"), event("like", "me", "n1"))
    store: Any = system.local.store
    before = store.round_trips
    system.feed("me")
    assert store.round_trips - before == 4


def test_a_head_of_another_version_is_no_neighbour(system: System) -> None:
    """Bytes that are no head bring nothing, and the feed is answered."""
    pairs(system)
    system.send(event("like", "me", "n1"))
    values: Any = system.local.store.values  # type: ignore[attr-defined]
    for key in [key for key in values if b".neighbours" in key and b":head:" in key]:
        values[key] = b"\x09" + values[key][1:-3]
    items = system.feed("me", explain=True)["items"]
    assert items
    assert not any("behaviour" in item["explain"]["sources"] for item in items)
