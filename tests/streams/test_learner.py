"""The learner stage: the same bytes wherever it is cut or killed, and nothing learned from what is no example."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.events import ACTIONS, PREDICTED
from config.keys import Slot
from config.records import START as BEGINNING
from config.records import Engaged, ExampleRecord, Left, Shown, Source, Tick, encode
from config.settings import Settings, SettingsError
from models import model as models
from models.context import Context
from models.features import FEATURE_SET, NAMES
from models.model import head_from
from store.layout import checkpoint_bytes
from store.memory import MemoryStore
from streams import fold, packing
from streams.learner import Learner
from streams.stage import Record, Unusable
from tests.streams.loop import DEFAULTS, START, Side

LIKE, VIEW = ACTIONS.index("like"), ACTIONS.index("view")
WIDTH = len(NAMES)


def with_learner(**values: Any) -> Settings:
    return msgspec.structs.replace(DEFAULTS, learner=msgspec.structs.replace(DEFAULTS.learner, **values))


SMALL = with_learner(items=600, users=520, factors=4, likes=530, like_factors=4, capacity=0.1)
"""More than one block of rows, with little room, and more exposures than there is capacity for."""


def features(rng: np.random.Generator, rows: int) -> bytes:
    return rng.normal(0.0, 1.0, (rows, WIDTH)).astype("<f2").tobytes()


def shown(x: bytes, u: int = 1, h: int = 1, t: int = START, set: str = FEATURE_SET) -> Shown:
    return Shown(u=u, h=h, t=t, set=set, x=x)


def engaged(xs: bytes, hs: tuple[int, ...], at: int, t: int = START, a: int = LIKE, **more: Any) -> Engaged:
    """A first engagement with its slate."""
    row = xs[2 * WIDTH * at : 2 * WIDTH * (at + 1)]
    context = Context(3, 1_000, 2.0, (91, 92)).encode()
    fields = {"set": FEATURE_SET, "x": row, "c": context, "hs": hs, "xs": xs, "w": (1.0,) * len(hs)} | more
    return Engaged(u=1, h=hs[at], t=t, a=a, at=at, **fields)  # type: ignore[arg-type]


def log_of(seed: int, n: int) -> list[Any]:
    """Exposures, slates and later actions of a few hundred notes."""
    rng, signals = np.random.default_rng(seed), list[Any]()
    for i in range(n):
        t = START + 1_000 * i
        kind = rng.integers(3)
        if kind == 0:
            signals.append(shown(features(rng, 1), int(rng.integers(9)), int(rng.integers(700)), t))
        elif kind == 1:
            size = int(rng.integers(2, 60))
            hs = tuple(rng.choice(700, size, replace=False).tolist())
            one = engaged(features(rng, size), hs, int(rng.integers(size)), t, int(rng.choice([LIKE, VIEW])))
            signals.append(msgspec.structs.replace(one, u=int(rng.integers(700))))
        elif rng.random() < 0.2:
            signals.append(Left(u=int(rng.integers(700)), t=t))
        else:
            signals.append(Engaged(u=1, h=2, t=t, a=LIKE, d=int(rng.choice([1, -1])), set=FEATURE_SET, x=features(rng, 1)))
    return signals


def packed(signals: list[Any], size: int) -> list[Record]:
    groups = [signals[i : i + size] for i in range(0, len(signals), size)] + [[Tick(t=START + 10**10)]]
    return [
        Record("examples", 0, i, START, None, encode(ExampleRecord(1, None, 0, (0, 0, 0), (0, 0, 0), START, [], group)))
        for i, group in enumerate(groups)
    ]


async def folded(records: list[Record], rng: random.Random | None) -> dict[bytes, bytes | None]:
    """What the store holds in the end; with `rng` the learner commits anywhere, and is killed now and then."""
    store = MemoryStore()
    counts = {"by-user": 1, "by-note": 1, "by-list": 1, "by-pair": 1, "examples": 1}

    async def send(out: list[packing.Outgoing]) -> None:
        assert not out

    async def begun() -> fold.Partition:
        part = fold.Partition(Learner(SMALL), Slot("t", 0, "learner", 0), Source("L", "t.examples", 0), counts)
        await fold.begin(part, store)
        return part

    await store.commit(Slot("t", 0, "learner", 0), None, checkpoint_bytes("L", BEGINNING), {}, {})
    part = await begun()
    while True:
        n = rng.randint(1, 4) if rng else len(records)
        part.feed(records[part.offset : part.offset + n])
        while part.waiting:
            await fold.step(part, store)
        if rng is None or rng.random() < 0.4:
            await fold.commit(part, store, send)
        if part.offset >= len(records):
            break
        if rng is not None and rng.random() < 0.3:
            part = await begun()
    if part.uncut:
        await fold.commit(part, store, send)
    keys = [key async for key in store.scan(b"*")]
    return dict(zip(keys, await store.read(keys), strict=True))


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 5), st.randoms(use_true_random=False))
def test_a_learner_that_is_cut_and_killed_anywhere_leaves_the_bytes_of_one_that_was_not(
    seed: int, n: int, size: int, rng: random.Random
) -> None:
    """Weights, accumulators, classifiers, head and checkpoint: a fold over the log, byte for byte."""
    records = packed(log_of(seed, n), size)
    assert asyncio.run(folded(records, None)) == asyncio.run(folded(records, rng))


def test_whoever_is_erased_leaves_both_tables() -> None:
    """Nothing that was learned of him by himself stays; of others all does."""
    side, rng = Side(Learner(SMALL), check=False), np.random.default_rng(1)
    for u in (8, 9):
        side.fold(msgspec.structs.replace(engaged(features(rng, 3), (5, 6, 7), 1), u=u))
        side.fold(Engaged(u=u, h=6, t=START, a=LIKE, set=FEATURE_SET, x=features(rng, 1)))
    ranker, likes = side.shared.model.ranker, side.shared.model.liking.rows
    assert (len(ranker.users), len(likes)) == (2, 3)
    side.fold(Left(u=8, t=START))
    assert ranker.users.hashes[:1].tolist() == [9]
    assert (len(ranker.users), len(likes)) == (1, 2)


def test_only_the_blocks_that_changed_are_written() -> None:
    """A slate touches its own rows; the head still names every block."""
    side, rng = Side(Learner(with_learner(items=2_000, factors=4)), check=False), np.random.default_rng(1)
    side.fold(engaged(features(rng, 700), tuple(range(700)), 3))
    state = side.shared
    side.stage.families["model"].dump(b"", state)
    side.stage.fold(side, side, engaged(features(rng, 3), (5, 6, 7), 1), ())
    written = side.stage.families["model"].dump(b"", state)
    assert {"head", "dense", "actions", "block0", "memory0"} <= set(written)
    assert len(head_from(written["head"]).tables[0].blocks) == 2


def test_what_is_liked_where_a_feature_is_high_is_expected_there() -> None:
    """Both models learn: the ranker which of a slate, the classifier whether it is liked."""
    side, rng = Side(Learner(SMALL), check=False), np.random.default_rng(0)
    column = NAMES.index("alike")
    for i in range(400):
        x = rng.normal(0.0, 0.1, (6, WIDTH))
        at = int(rng.integers(6))
        x[at, column] += 2.0
        likes = rng.random() < 0.8 if i % 2 else False
        x[at, NAMES.index("kin")] = 2.0 if i % 2 else -2.0
        xs = x.astype("<f2").tobytes()
        hs = tuple(rng.choice(10**6, 6, replace=False).tolist())
        side.fold(shown(xs[2 * WIDTH * at : 2 * WIDTH * (at + 1)], t=START + i, h=hs[at]))
        side.fold(engaged(xs, hs, at, START + i, VIEW))
        if likes:
            side.fold(Engaged(u=1, h=hs[at], t=START + i, a=LIKE, set=FEATURE_SET, x=xs[2 * WIDTH * at : 2 * WIDTH * (at + 1)]))
    model = side.shared.model
    x = np.zeros((2, WIDTH), np.float32)
    x[0, column] = 2.0
    scores = model.ranker.score(np.array([10**7, 10**7 + 1], np.uint64), x, Context())
    assert scores[0] > scores[1] + 1.0
    x[:, NAMES.index("kin")] = [2.0, -2.0]
    _, given_engaged = model.predict(x)
    liked = given_engaged[:, models.GIVEN.index("like")]
    assert liked[0] > 0.5 > 0.3 > liked[1]
    tally = model.tallies[PREDICTED.index("like")]
    assert 0.6 < tally.calibration < 1.6
    assert 0.0 < tally.logloss < 0.6


def test_notes_and_users_have_their_own_part_in_likes() -> None:
    """With the same features: a note that all like is expected to be liked more, by whomever; and a user who likes one of two kinds of notes
    likes what others of his taste do. What is expected of the features alone stays."""
    side, loved, hs, rng = Side(Learner(DEFAULTS), check=False), 11, (11, 12, 13), np.random.default_rng(4)
    xs = np.zeros((3, WIDTH), "<f2").tobytes()

    def took(u: int, at: int, likes: bool, t: int) -> None:
        first = engaged(xs, hs, at, t, VIEW)
        for signal in [first, Engaged(u=u, h=hs[at], t=t, a=LIKE, set=FEATURE_SET, x=xs[: 2 * WIDTH])][: 1 + likes]:
            side.fold(msgspec.structs.replace(signal, u=u))

    for i in range(200):
        took(1000 + i, i % 2, hs[i % 2] == loved, START + i)
    model, x, like = side.shared.model, np.zeros((3, WIDTH), np.float32), models.GIVEN.index("like")
    of_each, of_features = (model.predict(x, hashes)[1][:, like] for hashes in (np.array(hs, np.uint64), None))
    assert of_each[0] > of_features[0] + 0.1 > of_each[1] + 0.2
    assert of_each[2] == pytest.approx(of_features[0]) == pytest.approx(of_features[1])

    for i in range(600):
        u, at = int(rng.integers(1, 9)), int(rng.integers(2))
        took(u, at, u % 2 == at, START + 1_000 + i)
    even, odd = (model.predict(x[:2], np.array(hs[:2], np.uint64), u)[1][:, like] for u in (2, 3))
    assert even[0] > odd[0] + 0.2
    assert odd[1] > even[1] + 0.2
    side.stage.families["model"].dump(b"", side.shared)
    side.stage.fold(side, side, Engaged(u=1, h=loved, t=START + 2_000, a=LIKE, set=FEATURE_SET, x=xs[: 2 * WIDTH]), ())
    written = side.stage.families["model"].dump(b"", side.shared)
    assert {"like0", "like_memory0"} <= set(written)
    assert "block0" not in written


@pytest.mark.parametrize(
    "wrong",
    [
        shown(b""),
        shown(features(np.random.default_rng(0), 1)[:-2]),
        shown(np.full(WIDTH, np.nan, "<f2").tobytes()),
        shown(features(np.random.default_rng(0), 1), set="another"),
        engaged(features(np.random.default_rng(0), 3), (1, 2, 2), 0),
        engaged(features(np.random.default_rng(0), 3), (1, 2, 3), 0, w=(1.0, 0.0, 1.0)),
        engaged(features(np.random.default_rng(0), 3), (1, 2, 3), 0, w=(1.0,)),
        engaged(features(np.random.default_rng(0), 3), (1, 2, 3), 0, c=b"no context"),
        engaged(features(np.random.default_rng(0), 3), (1, 2, 3, 4), 0),
        engaged(features(np.random.default_rng(0), 3), (1, 2, 3), 0, a=200),
    ],
)
def test_what_is_no_example_is_dead_lettered_and_never_learned(wrong: Any) -> None:
    """Missing, cut, no numbers, of another list of features, a note twice: a letter, and the same model as before."""
    side, rng = Side(Learner(SMALL), check=False), np.random.default_rng(3)
    side.fold(engaged(features(rng, 4), (5, 6, 7, 8), 1))
    before = dict(side.store)
    side.fold(wrong)
    assert [reason for reason, _ in side.letters] == ["bad_example"]
    assert side.store == before


def test_a_model_of_other_features_is_refused_with_a_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    side = Side(Learner(SMALL), check=False)
    side.fold(engaged(features(np.random.default_rng(3), 4), (5, 6, 7, 8), 1))
    monkeypatch.setattr(models, "FEATURE_SET", "0123456789abcdef")
    with pytest.raises(
        Unusable, match=rf"learned with the features {FEATURE_SET}, this program computes 0123456789abcdef: .*rebuild learner"
    ):
        side.loaded("model", b"")


@pytest.mark.parametrize("part", ["head", "actions", "dense", "block0", "memory0", "like0", "like_memory0"])
def test_a_part_that_is_cut_is_refused(part: str) -> None:
    """Never half a model: each part is known by its hash."""
    side = Side(Learner(SMALL), check=False)
    side.fold(engaged(features(np.random.default_rng(3), 4), (5, 6, 7, 8), 1))
    side.store[part, b""] = side.store[part, b""][:-3]
    with pytest.raises(Unusable):
        side.loaded("model", b"")


def test_any_classifier_of_river_can_be_named() -> None:
    """For all actions or for one; one that does not exist stops the start, with one line."""
    side = Side(Learner(with_learner(classifiers={"like": "naive_bayes.GaussianNB"})), check=False)
    rng = np.random.default_rng(0)
    for _ in range(20):
        side.fold(engaged(features(rng, 3), (1, 2, 3), 1))
    again = side.loaded("model", b"").model
    x = rng.normal(0.0, 1.0, (5, WIDTH)).astype(np.float32)
    assert again.predict(x)[0] == pytest.approx(side.shared.model.predict(x)[0])
    with pytest.raises(SettingsError, match=r"\[learner\].*Nothing"):
        Learner(with_learner(classifier="linear_model.Nothing"))
    with pytest.raises(SettingsError, match=r"\[learner\].*classifiers\.liek: not one of click, "):
        Learner(with_learner(classifiers={"liek": "naive_bayes.GaussianNB"}))


def test_an_anchor_on_what_is_no_feature_stops_the_start() -> None:
    """One line names the setting, and the features there are."""
    with pytest.raises(SettingsError, match=r"learner\.anchor\.nothing: no feature; there are together,"):
        Learner(with_learner(anchor={"together": 0.5, "nothing": 1.0}))


def test_above_its_capacity_exposures_stand_for_each_other() -> None:
    """As many are learned from as there is capacity for, by the log's own time, and what is expected stays right; below it all are."""
    told: dict[float, tuple[float, float, float]] = {}
    for capacity in (1e9, 25.0):
        rng = np.random.default_rng(6)
        side = Side(Learner(with_learner(items=600, factors=4, capacity=capacity)), check=False)
        for i in range(6_000):  # a hundred a second
            x = features(rng, 1)
            side.fold(shown(x, i, i, START + 10 * i))
            if i % 5 == 0:
                side.fold(engaged(x + features(rng, 1), (i, i + 10**6), 0, START + 10 * i, VIEW))
        model = side.shared.model
        click = float(model.predict(np.zeros((1, WIDTH), np.float32))[0][0, PREDICTED.index("click")])
        told[capacity] = click, model.share, model.actions.models["hide"].optimizer.n_iterations
    assert told[1e9][1:] == (1.0, 6_000)
    assert 0.3 < told[25.0][1] < 0.5
    assert 3_000 < told[25.0][2] < 4_800
    assert told[25.0][0] == pytest.approx(told[1e9][0], abs=0.05)


def test_a_share_of_the_negatives_stands_for_all() -> None:
    """Which exposures are learned from depends on user and note alone; what is expected stays right."""
    rng, expected = np.random.default_rng(5), []
    for share in (1.0, 0.25):
        side = Side(Learner(with_learner(items=600, factors=4, negatives=share)), check=False)
        for i in range(1_500):
            x = features(rng, 1)
            side.fold(shown(x, i, i, START + i))
            if i % 5 == 0:
                side.fold(engaged(x + features(rng, 1), (i, i + 10**6), 0, START + i, VIEW))
        expected.append(float(side.shared.model.predict(np.zeros((1, WIDTH), np.float32))[0][0, PREDICTED.index("click")]))
    assert expected[1] == pytest.approx(expected[0], abs=0.08)
