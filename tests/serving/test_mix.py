"""Mixing: what differs stands together, and chances have the propensity that is logged."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

from config import settings as configuration
from config.settings import Feed, SettingsError
from serving.mix import Mix
from serving.stages import Scored
from store.layout import NOTE
from tests.serving.system import System, event

RULES = configuration.load(environ={}).feed


def rules(**values: float) -> Feed:
    return msgspec.structs.replace(RULES, **values)


def notes(n: int, tags: list[int]) -> np.ndarray:
    made = np.zeros(n, NOTE)
    made["hash"], made["author"] = np.arange(1, n + 1), np.arange(1, n + 1)
    made["tags"][:, 0] = [tags[i % len(tags)] for i in range(n)]
    return made


def scored(scores: np.ndarray) -> Scored:
    return Scored(scores.astype(np.float32), scores, scores, scores, b"", None)


def order(mix: Mix, made: np.ndarray, scores: np.ndarray, n: int, seed: int) -> tuple[list[int], dict[int, float]]:
    by_score = np.argsort(-scores, kind="stable")
    rows, chances = mix.order(by_score, made, scored(scores), set(), n, np.random.default_rng(seed))
    return rows[:n], chances


def test_every_row_stands_once_and_none_that_is_taken() -> None:
    made, scores = notes(60, [1, 2, 3]), np.linspace(1.0, 0.0, 60)
    mix = Mix(rules(explore_share=0.3))
    for seed in range(20):
        rows, _ = mix.order(np.argsort(-scores), made, scored(scores), {0, 5}, 10, np.random.default_rng(seed))
        assert len(rows) == len(set(rows))
        assert not {0, 5} & set(rows)


def test_no_tag_has_more_than_its_share_while_there_is_anything_else() -> None:
    made, scores = notes(60, [1]), np.linspace(1.0, 0.0, 60)
    made["tags"][10:, 0] = np.arange(10, 60)
    rows, _ = order(Mix(rules(explore_share=0.0, tag_share=0.5)), made, scores, 10, 0)
    assert sum(row < 10 for row in rows) == 5


@pytest.mark.parametrize("taken", [set(), {0, 3, 7}, {56, 57}])
@pytest.mark.parametrize("explore_share", [0.0, 0.1])
def test_a_tag_has_its_share_of_the_whole_page_though_all_of_the_best_are_of_it(taken: set[int], explore_share: float) -> None:
    """The best that are not are looked for further down; places of the pools and of chance count."""
    made, scores = notes(100, [1]), np.linspace(1.0, 0.0, 100)
    made["tags"][55:, 0] = np.arange(55, 100)
    mix = Mix(rules(explore_share=explore_share, tag_share=0.5))
    for seed in range(20):
        rows, _ = mix.order(np.arange(100), made, scored(scores), taken, 10, np.random.default_rng(seed))
        page = rows[: 10 - len(taken)] + sorted(taken)
        assert sum(row < 55 for row in page) <= 5
        assert sum(row < 55 for row in page) >= 4
        assert len(set(rows)) == len(rows)


def test_without_spread_and_chances_the_order_is_that_of_the_scores() -> None:
    made, scores = notes(60, list(range(1, 61))), np.random.default_rng(1).random(60)
    rows, chances = order(Mix(rules(explore_share=0.0, spread=0.0, tag_share=1.0)), made, scores, 10, 0)
    assert rows == np.argsort(-scores, kind="stable")[:10].tolist()
    assert not chances


def test_chances_come_as_often_as_their_propensity_says() -> None:
    """Slates drawn again and again: how often a note comes is the mean of the propensities that were logged for it."""
    made, scores = notes(40, list(range(1, 41))), np.linspace(2.0, 0.0, 40)
    mix = Mix(rules(explore_share=0.1, spread=0.0, tag_share=1.0))
    came, logged, pages = Counter[int](), Counter[int](), 6_000
    for seed in range(pages):
        _, chances = order(mix, made, scores, 10, seed)
        assert len(chances) == 1
        for row, propensity in chances.items():
            came[row] += 1
            logged[row] += 1.0 / propensity
    assert len(came) == 30
    for row in came:
        # If p is right, Σ 1 / p over the pages on which the note came is the number of pages, in the mean.
        p = came[row] / pages
        assert logged[row] == pytest.approx(pages, abs=5.0 * pages * np.sqrt((1 - p) / (p * pages)))
    assert min(came.values()) > 0


def test_a_page_is_never_opened_by_a_chance_and_it_is_logged_as_one(town: System) -> None:
    town.service.feed.mix.share = 0.3
    town.send(event("like", "u1", "n0"))
    found = 0
    for _ in range(15):  # some two chances a page: that fewer than six come does not happen by luck
        town.feed("u1", n=10)
        slate = next(s.slate for s in reversed([s for r in town.logged() for s in r.signals if getattr(s, "slate", None)]))
        ranked = [item for item in slate.items if item.slot == 0]
        assert ranked[0].propensity == 1.0
        found += sum(item.propensity < 1.0 for item in ranked)
    assert found >= 6


def test_a_setting_that_cannot_be_is_named() -> None:
    with pytest.raises(SettingsError, match=r"\[feed\]"):
        Mix(rules(explore_temperature=0.0))
