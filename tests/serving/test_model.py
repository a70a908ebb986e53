"""The learned model at serving: whole or not at all, swapped between two requests, told in parts."""

from __future__ import annotations

from math import isnan

import pytest
from msgspec import structs

from config.keys import hash64
from models.context import Context
from serving.stages import Query, Viewer
from tests.serving.system import System, event


def taught(young: System, rounds: int = 6) -> None:
    """Users see feeds and like coffee."""
    for i in range(rounds):
        user = f"r{i}"
        body = young.feed(user, n=10)
        young.send(
            *(event("impression", user, item["note_id"], request_id=body["request_id"]) for item in body["items"]),
            *(event("like", user, item["note_id"], request_id=body["request_id"]) for item in body["items"] if "coffee" in item["tags"]),
        )


def parts(young: System, kind: str) -> list[bytes]:
    slot = young.service.keys.manifest.at("learner", 0)
    return [key for key in young.local.store.values if key.startswith(slot.key(kind))]


def test_until_there_is_a_model_the_prior_ranks(young: System) -> None:
    """A new system is no fault: nothing is degraded."""
    assert young.feed("u1")["model_version"].startswith("prior-")
    assert not [reason for reason in young.service.snapshot.reasons if reason == "model"]


def test_a_model_that_has_learned_next_to_nothing_does_not_rank(town: System) -> None:
    """It takes over after so many slates; that it is young is no fault."""
    taught(town)
    assert town.feed("u1")["model_version"].startswith("prior-")
    assert town.request("GET", "/readyz").json()["status"] == "ready"


def test_what_is_learned_ranks_from_the_next_request_on(young: System) -> None:
    before = young.feed("u1")["model_version"]
    taught(young)
    after = young.feed("u1")["model_version"]
    assert after.startswith("learned-")
    assert after != before
    taught(young, 1)
    assert young.feed("u1")["model_version"] not in (before, after)
    slates = [s.slate for r in young.logged() for s in r.signals if getattr(s, "slate", None)]
    assert [slates[0].model_version, slates[-1].model_version] == [before, young.service.snapshot.models.version]


def test_the_learned_contributions_add_up_to_the_score(young: System) -> None:
    """Each feature's, the note's own, the user's taste by its factors, and what an engagement is worth."""
    taught(young)
    for item in young.feed("r1", explain=True)["items"]:
        told = item["explain"]
        assert {"together", "note", "taste", "worth"} <= set(told["contributions"])
        assert sum(told["contributions"].values()) == pytest.approx(item["score"], abs=2e-3)
        assert all(0.0 < p < 1.0 for p in told["predictions"].values())
        assert told["predictions"]["like"] <= told["predictions"]["click"]


def test_an_explanation_changes_no_score(young: System) -> None:
    """The sum of the parts is the score that ranks."""
    taught(young)
    service, scores = young.service, []
    query, _ = service.query("r1", "feed", 20, None, "", "", None, None, [], False)
    for explain in (False, True):
        scored = young.run(service.answer(structs.replace(query, explain=explain))).page.scored
        assert scored is not None
        scores.append(scored.score)
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.parametrize("harm", ["missing", "cut", "another"])
@pytest.mark.parametrize("kind", ["head", "dense", "block0", "user0", "like0"])
def test_a_model_that_is_not_whole_is_not_used(young: System, kind: str, harm: str) -> None:
    """Absent, truncated or of another version: `/readyz` says so, the prior ranks, and a whole one is taken again."""
    taught(young)
    values, keys = young.local.store.values, parts(young, "head") + parts(young, kind)
    kept = {key: values[key] for key in keys}
    slot = young.service.keys.manifest.at("learner", 0)
    taken = slot.key(kind)
    if harm == "missing":
        del values[taken]
    else:
        values[taken] = kept[taken][:-5] if harm == "cut" else b"\x07" + kept[taken][1:]
    if kind != "head":  # a new process, or a head that has moved on
        young.service.snapshot.models._parts.clear()
        young.service.snapshot.models._value = b""
    young.run(young.service.snapshot.refresh())
    ready = young.request("GET", "/readyz").json()
    assert ready["status"] == "degraded"
    assert any(reason.startswith("model: ") for reason in ready["reasons"])
    body = young.feed("u1")
    assert body["model_version"].startswith("prior-")
    assert len(body["items"]) == 20
    values.update(kept)
    young.run(young.service.snapshot.refresh())
    assert young.feed("u1")["model_version"].startswith("learned-")
    assert young.request("GET", "/readyz").json()["status"] == "ready"


def test_a_request_under_way_keeps_its_model(young: System) -> None:
    """Pipelines are exchanged, not changed: what a page was decided by stands on the page."""
    taught(young)
    service = young.service
    pipeline = service.pipelines["feed"]
    taught(young, 1)
    assert service.pipelines["feed"] is not pipeline
    assert pipeline.scorer.version != service.pipelines["feed"].scorer.version


def test_without_personalisation_nothing_of_the_profile_is_logged(young: System) -> None:
    """Context and features are those of nobody in particular."""
    taught(young)
    young.request("PUT", "/v1/users/r1/settings", json={"personalized": False})
    young.pump()
    young.feed("r1", n=5)
    slates = [s.slate for r in young.logged() for s in r.signals if getattr(s, "slate", None)]
    assert Context.decode(slates[-1].context) == Context()


def test_a_users_own_part_in_likes_is_used_only_with_personalisation(young: System) -> None:
    """What the model knows of a user by his hash is his, too: without personalisation he is expected to like what anybody would."""
    taught(young)
    service = young.service
    query, _ = service.query("r1", "feed", 20, None, "", "", None, None, [], False)
    page = young.run(service.answer(query)).page
    stranger = structs.replace(query, user_id="nobody", user=hash64("nobody"))

    def expected(query: Query, viewer: Viewer) -> list[list[float]]:
        told: list[list[float]] = page.scorer.score(query, viewer, page.candidates, page.notes).predictions.tolist()
        return told

    shut = structs.replace(page.viewer, personal=False)
    assert expected(query, shut) == expected(stranger, shut)
    assert expected(query, page.viewer) != expected(stranger, page.viewer)


def test_how_long_ago_the_served_model_learned_is_told_and_red_when_too_long(young: System) -> None:
    """By the stream's clock, and by the API that serves it: no worker may live, or none that learns."""
    watch = young.app.state.watch

    def told() -> tuple[float | None, list[str]]:
        young.run(watch.look())
        body = young.get("/ops/data")
        return body["model"]["age_s"], [alert["name"] for alert in body["alerts"] if "Model" in alert["name"]]

    assert told() == (None, [])
    taught(young)
    age, alerts = told()
    assert age is not None
    assert age < 60.0
    assert alerts == []
    young.clock += 1_000_000
    young.send(event("search", "u9"))
    later, alerts = told()
    assert later == pytest.approx(age + 1_000.5, abs=1.0)
    assert alerts == ["UpwellModelOld"]


def test_a_model_that_is_not_served_has_no_age(young: System) -> None:
    """As a metric it would stay what it was for ever."""

    def told() -> float:
        lines = young.request("GET", "/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("upwell_model_age_seconds "))

    taught(young)
    assert told() >= 0.0
    del young.local.store.values[parts(young, "head")[0]]
    young.run(young.service.snapshot.refresh())
    assert isnan(told())
