"""A small town in one process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.system import System, event, note

TAGS = {"coffee": "food/drinks", "bread": "food", "hiking": "travel", "skin": "beauty/skincare"}


@pytest.fixture
def system() -> Iterator[System]:
    """Nothing in it."""
    made = System()
    yield made
    made.close()


@pytest.fixture
def town(system: System) -> System:
    return settled(system)


@pytest.fixture
def young() -> Iterator[System]:
    """The town, where a model is trusted from its first slate on."""
    made = System({"UPWELL_LEARNER__TRUSTED": "1"})
    yield settled(made)
    made.close()


def settled(system: System) -> System:
    """80 notes of 20 authors under four tags, some of them liked by a crowd."""
    names = list(TAGS)
    system.publish(*(note(f"n{i}", f"a{i % 20}", [names[i % 4]], TAGS[names[i % 4]]) for i in range(80)))
    crowd = []
    for i in range(40):
        for k in range(6):
            crowd.append(event("impression", f"c{k}", f"n{(i * 7 + k) % 80}"))
            if (i + k) % 3 == 0:
                crowd.append(event("like", f"c{k}", f"n{(i * 7 + k) % 80}"))
    system.send(*crowd)
    return system
