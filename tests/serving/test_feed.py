"""Feeds over the whole chain: what a user does changes what he is shown."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import jsonschema_rs
import pytest

from serving.reasons import CODES
from serving.routes.shapes import FEED
from tests.serving.system import System, event, note


def test_an_unknown_user_gets_a_first_feed(town: System) -> None:
    """Nobody is an error: who is new sees what is hot and what is new."""
    body = town.feed("stranger")
    assert len(body["items"]) == 20
    assert body["degraded"] is None
    assert {item["source"] for item in body["items"]} <= {"hot", "pool"}
    assert all(item["reasons"] for item in body["items"])


def test_a_like_changes_the_next_feed(town: System) -> None:
    """Interest weights move at once, and the feed with them, and it says why."""
    before = town.feed("u1", n=10)
    liked = [f"n{i}" for i in (0, 4, 8)]  # coffee
    town.send(*(event("like", "u1", one) for one in liked))
    after = town.feed("u1", n=10)
    assert share(after, "coffee") > share(before, "coffee")
    assert share(after, "coffee") >= 0.5
    assert any({"code": "interest_tag", "tag": "coffee"} in item["reasons"] for item in after["items"])
    assert not set(liked) & {item["note_id"] for item in after["items"]}


def share(body: dict, tag: str) -> float:
    return sum(tag in item["tags"] for item in body["items"]) / len(body["items"])


def test_what_was_seen_does_not_come_again(town: System) -> None:
    first = town.ids("u1")
    town.send(event("impression", "u1", items=[{"note_id": one, "position": i} for i, one in enumerate(first)]))
    assert not set(first) & set(town.ids("u1"))


def test_what_must_not_be_shown_is_not(town: System) -> None:
    """Deleted, under review, private, own, blocked, hidden: each is gone from the next feed of whom it concerns."""
    town.send(event("signup", "u1", tags=["coffee", "bread", "hiking", "skin"]))
    everything = set(town.ids("u1", n=50))
    assert {"n0", "n1", "n2", "n3", "n4", "n5", "n6"} & everything
    town.publish(
        {"note_id": "n0", "status": "deleted"},
        {"note_id": "n1", "status": "under_review"},
        {"note_id": "n2", "visibility": "private"},
        {"note_id": "n3", "visibility": "followers"},
        {"note_id": "n4", "status": "rejected"},
    )
    town.send(event("block", "u1", author_id="a5"), event("hide", "u1", "n6"), event("hide", "u1", "n7", scope="author"))
    shown = set()
    for _ in range(3):
        shown |= set(town.ids("u1", n=50))
    assert not shown & {"n0", "n1", "n2", "n3", "n4", "n6"}
    assert not shown & {f"n{i}" for i in range(80) if i % 20 == 5}
    assert not shown & {"n7"}
    town.publish(note("mine", "u1", ["coffee"], "food/drinks"))
    assert "mine" not in town.ids("u1", n=50)
    assert "mine" in town.ids("u2", channel="food/drinks", n=50)


def test_pages_run_on_without_a_repeat(town: System) -> None:
    """The cursor remembers what was shown, before any impression came; positions run on."""
    seen: list[str] = []
    cursor, positions = None, []
    for _ in range(5):
        body = town.feed("u1", n=10, **({"cursor": cursor} if cursor else {}))
        seen += [item["note_id"] for item in body["items"]]
        positions += [item["position"] for item in body["items"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) >= 30
    assert positions == list(range(len(positions)))


def pages(system: System, path: str, **params: Any) -> Iterator[list[dict[str, Any]]]:
    """Page after page, to the last."""
    cursor: str | None = ""
    while cursor is not None:
        body = system.get(path, **params, **({"cursor": cursor} if cursor else {}))
        yield body["items"]
        cursor = body["next_cursor"]


@pytest.mark.parametrize(("n", "tags"), [(10, []), (20, []), (50, []), (20, ["t1"])])
def test_pages_do_not_end_while_there_is_something_new(system: System, n: int, tags: list[str]) -> None:
    """A first look at a system in which nothing is hot yet, with an interest or without: page after page to the last note."""
    system.publish(*(note(f"n{i}", f"a{i % 90}", [f"t{i % 2}"], "food") for i in range(400)))
    system.send(event("signup", "u1", tags=tags))
    sizes, shown = list[int](), list[str]()
    for page in pages(system, "/v1/feed/u1", n=n):
        sizes.append(len(page))
        shown += [item["note_id"] for item in page]
    assert len(shown) == len(set(shown)) == 400
    assert set(sizes[:-1]) == {n}


def test_what_a_cursor_cannot_remember_ends_the_pages(system: System) -> None:
    """More notes than a cursor holds, and nobody says that they were seen: the pages end, and none comes twice."""
    system.publish(*(note(f"n{i}", f"a{i % 90}", ["t"], "food") for i in range(900)))
    shown = [item["note_id"] for page in pages(system, "/v1/feed/u1", n=50, channel="food") for item in page]
    held = system.settings.feed.cursor_shown
    assert held <= len(shown) == len(set(shown)) <= held + 50


def test_a_feed_ends_when_there_is_nothing_left_and_not_before(system: System) -> None:
    """Who has seen the front of all his lists is shown what stands behind it."""
    system.publish(*(note(f"n{i}", f"a{i % 60}", [f"t{i % 5}"], ("food", "travel")[i % 2]) for i in range(700)))
    system.send(*(event("like", f"c{i % 9}", f"n{i}") for i in range(0, 700, 3)))
    shown: list[str] = []
    while page := system.ids("u1", n=50):
        shown += page
        system.send(*(event("impression", "u1", name) for name in page), *(event("like", "u1", name) for name in page[::4]))
    assert len(shown) == len(set(shown)) > 650


def test_what_was_seen_needs_no_place_in_the_cursor(system: System) -> None:
    """With impressions the pages go on as long as there is anything new."""
    system.publish(*(note(f"n{i}", f"a{i % 90}", ["t"], "food") for i in range(700)))
    shown: list[str] = []
    for page in pages(system, "/v1/feed/u1", n=50, channel="food"):
        shown += [item["note_id"] for item in page]
        system.send(*(event("impression", "u1", item["note_id"]) for item in page))
    assert len(shown) == len(set(shown)) > system.settings.feed.cursor_shown + 50


def test_no_author_follows_himself_over_the_edge_of_a_page(town: System) -> None:
    """What stands next to each other is apart, also where one page ends and the next begins."""
    authors = [item["author_id"] for page in pages(town, "/v1/feed/u1", n=1) for item in page]
    assert len(authors) > 30
    assert sum(a == b for a, b in pairwise(authors[:30])) == 0


def test_a_cursor_of_somebody_else_is_refused(town: System) -> None:
    cursor = town.feed("u1", n=5)["next_cursor"]
    for bad in (f"{cursor[:-4]}AAAA", "x", "....", cursor[:10]):
        response = town.request("GET", "/v1/feed/u1", params={"cursor": bad})
        assert response.status_code == 400
        assert response.json()["code"] == "bad_cursor"
    assert town.request("GET", "/v1/feed/u2", params={"cursor": cursor}).status_code == 400
    # Nor does the end of a cursor pass for the beginning of a name: "longname" is not "name".
    raw = b64decode(town.feed("longname", n=5)["next_cursor"] + "==", b"-_")
    spliced = b64encode(raw + b"long", b"-_").rstrip(b"=").decode()
    assert town.request("GET", "/v1/feed/name", params={"cursor": spliced}).status_code == 400
    town.clock += 13 * 3_600_000
    town.send(event("click", "u9", "n1"))
    assert town.request("GET", "/v1/feed/u1", params={"cursor": cursor}).status_code == 400


def test_a_channel_holds_what_lies_below_it(town: System) -> None:
    body = town.feed("u1", channel="food", n=50)
    assert {item["channel"] for item in body["items"]} == {"food", "food/drinks"}
    assert {item["channel"] for item in town.feed("u1", channel="food/drinks")["items"]} == {"food/drinks"}
    assert town.feed("u1", channel="foo")["items"] == []


def test_a_channel_deeper_than_lists_go_is_found_by_its_name(system: System) -> None:
    system.publish(note("deep", "a1", [], "a/b/c/d/e"), note("flat", "a2", [], "a/b/c/d"), note("other", "a3", [], "a/b/c/d/f"))
    system.send(*(event(kind, f"c{k}", name) for k in range(3) for name in ("deep", "flat", "other") for kind in ("impression", "like")))
    assert [item["note_id"] for item in system.get("/v1/hot", channel="a/b/c/d/e")["items"]] == ["deep"]
    assert set(system.ids("u1", channel="a/b/c/d")) == {"deep", "flat", "other"}


def test_excluded_notes_do_not_come(town: System) -> None:
    first = town.ids("u1")
    assert not set(first) & set(town.ids("u1", exclude=",".join(first)))


def test_pool_notes_have_reserved_places(town: System) -> None:
    """A share of the places goes to notes in the pools, drawn with a propensity that the slate logs."""
    slots = [item["source"] for _ in range(10) for item in town.feed("u1", explain=True)["items"] if item["explain"]["slot"] == "pool"]
    assert 20 <= len(slots) <= 60


def test_the_slate_is_logged_with_what_is_needed_to_learn(town: System) -> None:
    """Per item: note, place, slot, sources, tier, propensity, features and predictions; and a sample of what was not shown."""
    town.send(event("like", "u1", "n0"))
    body = town.feed("u1", n=10)
    slate = next(
        s.slate for r in town.logged() for s in r.signals if getattr(s, "slate", None) and s.slate.request_id == body["request_id"]
    )
    assert [item.p for item in slate.items] == list(range(10))
    assert len(slate.predictions) == 10 * 8 * 2
    width = len(slate.features) // (2 * (len(slate.items) + len(slate.passed)))
    assert width == len(town.service.pipelines["feed"].scorer.features)
    assert slate.feature_set == town.service.pipelines["feed"].scorer.feature_set
    assert len(slate.passed) == 10
    assert all(item.p == -1 and item.propensity >= 1.0 for item in slate.passed)
    assert all(0.0 < item.propensity <= 1.0 for item in slate.items)
    town.pump()
    note_id = body["items"][0]["note_id"]
    before = town.get(f"/v1/notes/{note_id}")["exposures"]
    town.send(event("impression", "u1", note_id, request_id=body["request_id"], position=0))
    assert town.get(f"/v1/notes/{note_id}")["exposures"]["organic"] == before["organic"] + 1


def test_contributions_add_up_to_the_score(town: System) -> None:
    town.send(event("like", "u1", "n0"))
    for item in town.feed("u1", explain=True)["items"]:
        assert abs(sum(item["explain"]["contributions"].values()) - item["score"]) < 2e-3


def test_an_explanation_tells_what_diversity_and_slots_did(town: System) -> None:
    """Both together lead from where the score puts a note to where it stands; without either nothing is moved."""
    town.send(*(event("like", "u1", f"n{i}") for i in (0, 4, 8)))
    for path in ("/v1/feed/u1", "/v1/hot"):
        items = town.get(path, n=20, explain=True)["items"]
        for place, item in enumerate(items):
            told = item["explain"]
            ties = sum(other["explain"]["rank"] == told["rank"] for other in items) - 1
            assert abs(told["rank"] - place - sum(told["moved"].values())) <= ties
            if told["slot"] == "pool":
                assert not told["moved"]["diversity"]
    slots = {item["explain"]["slot"] for item in town.feed("u1", n=20, explain=True)["items"]}
    assert slots == {"ranked", "pool"}
    plain = System(
        {"UPWELL_FEED__SPREAD": "0", "UPWELL_FEED__TAG_SHARE": "1", "UPWELL_FEED__POOL_SHARE": "0", "UPWELL_FEED__EXPLORE_SHARE": "0"}
    )
    plain.publish(*(note(f"n{i}", f"a{i}", ["tea"], "food") for i in range(30)))
    plain.send(event("signup", "u1", tags=["tea"]))
    assert all(item["explain"]["moved"] == {"diversity": 0, "slots": 0} for item in plain.feed("u1", n=20, explain=True)["items"])
    plain.close()
    one = System({"UPWELL_FEED__POOL_SHARE": "0", "UPWELL_FEED__EXPLORE_SHARE": "0"})
    one.publish(*(note(f"n{i}", "ann" if i < 3 else f"a{i}", ["tea"] if i < 3 else ["bread"], "food") for i in range(6)))
    one.send(event("signup", "u1", tags=["tea"]))
    moved = [item["explain"]["moved"] for item in one.feed("u1", n=6, explain=True)["items"]]
    assert [m["slots"] for m in moved] == [0] * 6
    assert moved[0]["diversity"] == 0 < moved[1]["diversity"]
    one.close()


def test_a_strong_interest_leaves_room_for_others(system: System) -> None:
    """However much better all of its notes are: no tag has more of a page than its share, while there is anything else."""
    system.publish(*(note(f"n{i}", f"a{i % 60}", ["tea"] if i % 2 else [f"t{i % 7}"], "food") for i in range(300)))
    crowd = [(f"c{k}", f"n{(7 * i + k) % 300}") for i in range(150) for k in range(3)]
    system.send(*(event(kind, user, name) for user, name in crowd for kind in ("impression", "like")))
    system.send(event("signup", "u1", tags=["tea"]), *(event("like", "u1", f"n{i}") for i in (1, 3, 5, 7)))
    for n in (10, 20, 50):
        shown = [item["tags"] for item in system.feed("u1", n=n)["items"]]
        assert len(shown) == n
        assert 0.4 * n <= sum("tea" in tags for tags in shown) <= 0.6 * n


def test_no_two_notes_of_one_author_stand_together(town: System) -> None:
    authors = [item["author_id"] for item in town.feed("u1", n=40)["items"]]
    assert all(a != b for a, b in pairwise(authors))


def test_deciding_takes_three_round_trips_and_one_for_the_text(town: System) -> None:
    town.send(event("like", "u1", "n0"), event("follow", "u1", author_id="a3"))
    before = town.local.store.round_trips
    town.feed("u1")
    assert town.local.store.round_trips - before == 4


def test_the_same_request_is_drawn_again_from_its_seed(town: System) -> None:
    """Everything random comes from the request id: what was served can be decided again."""
    service = town.service
    query, _ = service.query("u1", "feed", 20, None, "", "", None, None, [], False)
    one, two = (town.run(service.answer(query)) for _ in range(2))
    assert [(p.row, p.slot, p.propensity) for p in one.page.placed] == [(p.row, p.slot, p.propensity) for p in two.page.placed]


def test_following_has_the_newest_of_all_who_are_followed(system: System) -> None:
    """However many they are, and whomever one followed first; and all of one, if he is the only one."""
    system.publish(*(note(f"n{i}", f"a{i}") for i in range(600)))
    system.send(*(event("follow", "u1", author_id=f"a{i}") for i in range(600)), event("follow", "u2", author_id="a3"))
    system.clock += 60_000
    system.publish(note("fresh", "a3"))
    items = system.get("/v1/feed/u1/following", n=3)["items"]
    assert [item["note_id"] for item in items] == ["fresh", "n599", "n598"]
    system.publish(*(note(f"m{i}", "a3") for i in range(40)))
    shown = [item for page in pages(system, "/v1/feed/u2/following", n=15) for item in page]
    assert len(shown) == 42
    dates = [item["published_at"] for item in shown]
    assert dates == sorted(dates, reverse=True)


def test_every_surface_answers_where_there_is_one_note_alone(system: System) -> None:
    """One author followed, who has one note: it is what each surface shows."""
    system.publish(note("only", "a1", ["tea"], "food", lat=31.2, lon=121.4, city="Paris"))
    system.send(event("follow", "u1", author_id="a1"), event("signup", "u1", tags=["tea"]))
    system.send(event("impression", "u2", "only"), event("like", "u2", "only"))
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/feed/u1", {}), ("/v1/feed/u1", {"channel": "food"}), ("/v1/feed/u1/following", {}),
        ("/v1/feed/u1/nearby", {"lat": 31.2, "lon": 121.4}), ("/v1/hot", {}), ("/v1/hot", {"channel": "food"}), ("/v1/hot", {"city": "Paris"}),
    ]  # fmt: skip
    for path, params in asked:
        assert [item["note_id"] for item in system.get(path, explain=True, **params)["items"]] == ["only"], (path, params)
    system.publish(note("other", "a2"))
    system.send(event("like", "u2", "other"))
    assert [item["note_id"] for item in system.get("/v1/notes/only/similar")["items"]] == ["other"]


def test_who_is_followed_is_said_however_long_ago_it_was(system: System) -> None:
    system.publish(*(note(f"n{i}", f"a{i}") for i in range(300)))
    system.send(*(event("follow", "u1", author_id=f"a{i}") for i in range(300)))
    shown = [item for page in pages(system, "/v1/feed/u1/following", n=50) for item in page]
    assert len(shown) == 300
    assert all({"code": "follow", "author_id": item["author_id"]} in item["reasons"] for item in shown)


def test_a_first_feed_knows_the_place(system: System) -> None:
    """Somebody of whom nothing is known but where he is sees what is there, and is told so."""
    system.publish(
        *(note(f"n{i}", f"a{i}", [], "food") for i in range(400)), *(note(f"p{i}", f"b{i}", lat=31.2, lon=121.4) for i in range(8))
    )
    system.send(*(event("like", f"c{k}", f"p{i}") for k in range(4) for i in range(8)))
    assert not [item for item in system.feed("u1", n=50, explain=True)["items"] if "nearby" in item["explain"]["sources"]]
    items = system.feed("u1", lat=31.21, lon=121.4, n=30, explain=True)["items"]
    near = [item for item in items if "nearby" in item["explain"]["sources"]]
    assert len(near) == 8
    assert all(1000 < reason["distance_m"] < 1300 for item in near for reason in item["reasons"] if reason["code"] == "nearby")
    assert any(reason["code"] == "nearby" for item in near for reason in item["reasons"])


def test_every_note_says_why_it_is_there_in_words_that_are_documented(town: System) -> None:
    """On every surface, and what is told fits the documents."""
    town.publish(*(note(f"p{i}", f"b{i}", ["coffee"], "food", lat=31.2, lon=121.4, city="Paris") for i in range(5)))
    town.send(*(event("like", f"c{k}", name) for k in range(3) for name in ("n0", "n4", "p1")))
    town.send(event("follow", "u1", author_id="c0"), event("follow", "u1", author_id="a3"), event("like", "u1", "n0"))
    town.send(event("signup", "u2", tags=["bread"]), event("locate", "u2", city="Paris"))
    codes = set()
    for path, params in (
        ("/v1/feed/u1", {}), ("/v1/feed/u2", {}), ("/v1/feed/u1", {"channel": "food"}), ("/v1/feed/u1/following", {}), ("/v1/hot", {}),
        ("/v1/feed/u1/nearby", {"lat": 31.2, "lon": 121.4}), ("/v1/feed/u2/nearby", {}), ("/v1/notes/n0/similar", {}),
    ):  # fmt: skip
        body = town.get(path, n=50, explain=True, **params)
        jsonschema_rs.validate(FEED, body)
        assert body["items"], path
        for item in body["items"]:
            assert item["reasons"], (path, item["note_id"])
            for reason in item["reasons"]:
                assert set(reason) - {"code"} <= set(CODES[reason["code"]])
                codes.add(reason["code"])
    assert codes >= {"friend", "behaviour", "similar", "nearby", "follow", "signup_tag", "interest_tag", "channel", "hot"}


def test_following_and_nearby(town: System) -> None:
    assert town.get("/v1/feed/u1/following")["items"] == []
    response = town.request("GET", "/v1/feed/u1/nearby")
    assert response.status_code == 422
    assert response.json()["code"] == "location_required"
    town.send(event("follow", "u1", author_id="a3"))
    assert {item["author_id"] for item in town.get("/v1/feed/u1/following")["items"]} == {"a3"}
    town.publish(note("cafe", "z", ["coffee"], "food", lat=31.23, lon=121.47), note("far", "z", [], "food", lat=40.0, lon=116.0))
    here = town.get("/v1/feed/u1/nearby", lat=31.231, lon=121.472)["items"]
    assert [item["note_id"] for item in here] == ["cafe"]
    assert 100 < here[0]["distance_m"] < 400
    town.send(event("locate", "u1", lat=31.231, lon=121.472))
    assert [item["note_id"] for item in town.get("/v1/feed/u1/nearby")["items"]] == ["cafe"]


def test_what_is_next_door_is_nearby_however_much_the_city_has(town: System) -> None:
    """Two kilometres off are more and newer notes than a feed can score; the one around the corner, older than all of them, is shown."""
    corner = note("corner", "z", [], "food", lat=31.2501, lon=121.47)
    city = [note(f"city{i}", f"y{i}", [], "food", lat=31.27, lon=121.47 + i * 1e-5) for i in range(200)]
    town.publish(corner, *city)
    assert "corner" in [item["note_id"] for item in town.get("/v1/feed/u1/nearby", lat=31.25, lon=121.47)["items"]]


def test_a_subject_that_is_shown_and_not_taken_is_shown_less(town: System) -> None:
    """Fatigue is more than that a note is not shown twice: of two who like both subjects alike, each gets less of what he let pass."""
    kinds = ("tea", "jazz")
    town.publish(*(note(f"{kind}{i}", f"{kind}-{i}", [kind], kind) for i in range(70) for kind in kinds))
    for user, passes in (("u8", "tea"), ("u9", "jazz")):
        town.send(*(event(type, user, f"{kind}{i}") for i in range(2) for kind in kinds for type in ("impression", "like")))
        town.send(*(event("impression", user, f"{passes}{i}") for i in range(2, 22)))

    def teas(user: str) -> int:
        return sum(name.startswith("tea") for name in town.ids(user, n=20))

    assert teas("u8") + 3 < teas("u9")


def test_hot_is_for_everybody(town: System) -> None:
    body = town.get("/v1/hot", n=10)
    assert len(body["items"]) == 10
    assert {item["source"] for item in body["items"]} == {"hot"}
    assert {item["channel"] for item in town.get("/v1/hot", channel="food")["items"]} <= {"food", "food/drinks"}
    assert not [s for r in town.logged() for s in r.signals if getattr(s, "slate", None) and s.u == ""]


def test_without_personalisation_the_profile_stays_shut(town: System) -> None:
    town.send(*(event("like", "u1", f"n{i}") for i in (0, 4, 8, 12)))
    assert any(r["code"].startswith("interest") for item in town.feed("u1")["items"] for r in item["reasons"])
    response = town.request("PUT", "/v1/users/u1/settings", json={"personalized": False})
    assert response.status_code == 202
    town.pump()
    body = town.feed("u1")
    assert {item["source"] for item in body["items"]} <= {"hot", "pool"}
    assert not [r for item in body["items"] for r in item["reasons"] if r["code"].startswith("interest")]
