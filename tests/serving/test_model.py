"""The learned model at serving: whole or not at all, swapped between two requests, told in parts."""

from __future__ import annotations

import pytest
from msgspec import structs

from models.ranker import Context
from tests.serving.system import System, event


def taught(town: System, rounds: int = 6) -> None:
    """Users see feeds and like coffee."""
    for i in range(rounds):
        user = f"r{i}"
        body = town.feed(user, n=10)
        town.send(
            *(event("impression", user, item["note_id"], request_id=body["request_id"]) for item in body["items"]),
            *(event("like", user, item["note_id"], request_id=body["request_id"]) for item in body["items"] if "coffee" in item["tags"]),
        )


def parts(town: System, kind: str) -> list[bytes]:
    slot = town.service.keys.manifest.at("learner", 0)
    return [key for key in town.local.store.values if key.startswith(slot.key(kind))]


def test_until_there_is_a_model_the_prior_ranks(town: System) -> None:
    """A new system is no fault: nothing is degraded."""
    assert town.feed("u1")["model_version"].startswith("prior-")
    assert not [reason for reason in town.service.snapshot.reasons if reason == "model"]


def test_what_is_learned_ranks_from_the_next_request_on(town: System) -> None:
    before = town.feed("u1")["model_version"]
    taught(town)
    after = town.feed("u1")["model_version"]
    assert after.startswith("learned-")
    assert after != before
    taught(town, 1)
    assert town.feed("u1")["model_version"] not in (before, after)
    slates = [s.slate for r in town.logged() for s in r.signals if getattr(s, "slate", None)]
    assert [slates[0].model_version, slates[-1].model_version] == [before, town.service.snapshot.models.version]


def test_the_learned_contributions_add_up_to_the_score(town: System) -> None:
    """Each feature's, the note's own, the user's taste by its factors, and what an engagement is worth."""
    taught(town)
    for item in town.feed("r1", explain=True)["items"]:
        told = item["explain"]
        assert {"together", "note", "taste", "worth"} <= set(told["contributions"])
        assert sum(told["contributions"].values()) == pytest.approx(item["score"], abs=2e-3)
        assert all(0.0 < p < 1.0 for p in told["predictions"].values())
        assert told["predictions"]["like"] <= told["predictions"]["click"]


def test_an_explanation_changes_no_score(town: System) -> None:
    """The sum of the parts is the score that ranks."""
    taught(town)
    service, scores = town.service, []
    query, _, _ = service.query("r1", "feed", 20, None, "", "", None, None, [], False)
    for explain in (False, True):
        scored = town.run(service.answer(structs.replace(query, explain=explain))).page.scored
        assert scored is not None
        scores.append(scored.score)
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.parametrize("harm", ["missing", "cut", "another"])
@pytest.mark.parametrize("kind", ["head", "dense", "block0"])
def test_a_model_that_is_not_whole_is_not_used(town: System, kind: str, harm: str) -> None:
    """Absent, truncated or of another version: `/readyz` says so, the prior ranks, and a whole one is taken again."""
    taught(town)
    values, keys = town.local.store.values, parts(town, "head") + parts(town, kind)
    kept = {key: values[key] for key in keys}
    slot = town.service.keys.manifest.at("learner", 0)
    taken = slot.key(kind)
    if harm == "missing":
        del values[taken]
    else:
        values[taken] = kept[taken][:-5] if harm == "cut" else b"\x07" + kept[taken][1:]
    if kind != "head":  # a new process, or a head that has moved on
        town.service.snapshot.models._parts.clear()
        town.service.snapshot.models._value = b""
    town.run(town.service.snapshot.refresh())
    ready = town.request("GET", "/readyz").json()
    assert ready["status"] == "degraded"
    assert any(reason.startswith("model: ") for reason in ready["reasons"])
    body = town.feed("u1")
    assert body["model_version"].startswith("prior-")
    assert len(body["items"]) == 20
    values.update(kept)
    town.run(town.service.snapshot.refresh())
    assert town.feed("u1")["model_version"].startswith("learned-")
    assert town.request("GET", "/readyz").json()["status"] == "ready"


def test_a_request_under_way_keeps_its_model(town: System) -> None:
    """Pipelines are exchanged, not changed: what a page was decided by stands on the page."""
    taught(town)
    service = town.service
    pipeline = service.pipelines["feed"]
    taught(town, 1)
    assert service.pipelines["feed"] is not pipeline
    assert pipeline.scorer.version != service.pipelines["feed"].scorer.version


def test_without_personalisation_nothing_of_the_profile_is_logged(town: System) -> None:
    """Context and features are those of nobody in particular."""
    taught(town)
    town.request("PUT", "/v1/users/r1/settings", json={"personalized": False})
    town.pump()
    town.feed("r1", n=5)
    slates = [s.slate for r in town.logged() for s in r.signals if getattr(s, "slate", None)]
    assert Context.decode(slates[-1].context) == Context()
