"""One note, and the pools as a whole."""

from __future__ import annotations

from config import metrics
from models.lists import HOUR
from serving.ops.watch import Watch
from tests.serving.system import System, event, note


def test_a_note_tells_its_counts_and_its_pool(system: System) -> None:
    system.publish(note("n1", "a1", ["coffee"], "food/drinks"))
    system.send(*(event("impression", f"u{i}", "n1") for i in range(30)), *(event("like", f"u{i}", "n1") for i in range(9)))
    body = system.get("/v1/notes/n1")
    assert (body["note_id"], body["author_id"], body["status"], body["title"]) == ("n1", "a1", "published", "About n1")
    assert (body["counts"]["impression"], body["counts"]["like"], body["counts"]["share"]) == (30, 9, 0)
    assert body["exposures"]["organic"] == 30
    assert body["pool"]["tier"] == 0 or body["history"][-1]["verdict"] == "promoted"
    assert body["pool"]["left"] <= body["pool"]["quota"]
    assert body["quality"]["low"] <= body["quality"]["mean"] <= body["quality"]["high"]
    assert body["history"][0]["verdict"] == "entered"
    assert [move["seq"] for move in body["history"]] == list(range(1, len(body["history"]) + 1))
    assert body["history"][0]["at"].endswith("Z")


def test_a_note_nobody_published_is_a_404(system: System) -> None:
    system.send(event("like", "u1", "ghost"))
    for name in ("ghost", "nothing"):
        response = system.request("GET", f"/v1/notes/{name}")
        assert (response.status_code, response.json()["code"]) == (404, "unknown_note")


def test_a_deleted_note_says_so_without_its_text(system: System) -> None:
    system.publish(note("n1", "a1"))
    system.publish({"note_id": "n1", "status": "deleted"})
    body = system.get("/v1/notes/n1")
    assert (body["status"], body["title"]) == ("deleted", "")


def test_pools_add_up_over_partitions(system: System) -> None:
    system.publish(*(note(f"n{i}", f"a{i}") for i in range(12)))
    tiers = system.get("/v1/pools")["tiers"]
    assert [tier["tier"] for tier in tiers] == list(range(len(system.settings.pool.tiers)))
    assert tiers[0]["notes"] == 12
    assert tiers[0]["quota"] == system.settings.pool.tiers[0].quota


def test_a_promise_that_is_overdue_is_in_the_answer_and_in_the_metric_of_the_alert(system: System) -> None:
    """From `deliver_hours` on, hours before the window ends; what is shown then, is no longer overdue."""
    system.publish(note("n1", "a1"), note("n2", "a2"))
    base = system.settings.pool.tiers[0].quota
    watch = Watch(system.service, "test")

    def overdue() -> tuple[int, float]:
        system.run(watch.read())
        return system.get("/v1/pools")["tiers"][0]["owed"], metrics.POOL_SHORTFALL._value.get()

    assert overdue() == (0, 0.0)
    system.clock += int((system.settings.pool.deliver_hours + 0.1) * HOUR)
    system.send(*(event("impression", f"u{i}", "n1") for i in range(30)))
    assert overdue() == (2 * base - 30, 2.0 * base - 30.0)
    system.send(*(event("impression", f"u{i}", "n1") for i in range(30, base)))
    assert overdue() == (base, float(base))
