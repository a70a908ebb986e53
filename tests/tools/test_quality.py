"""The variants of `make eval` differ from the whole in the one thing that they name."""

from __future__ import annotations

import pytest

from config.settings import load
from models.model import Model
from serving.build import build
from tools.quality import BEGIN, END, VARIANTS, prior, without, written

SETTINGS = load(environ={})


@pytest.mark.parametrize(
    "variant", [variant for variant in VARIANTS if variant.name.startswith("without the source")], ids=lambda v: v.name
)
def test_a_source_that_is_switched_off_was_there(variant: object) -> None:
    """A name that no surface has would measure nothing."""
    name = variant.name.rsplit(" ", 1)[1]  # type: ignore[attr-defined]
    whole, less = build(SETTINGS)["feed"], without(name)(SETTINGS)["feed"]
    assert len(less.sources) + len(less.readers) == len(whole.sources) + len(whole.readers) - 1


def test_every_other_variant_changes_one_thing() -> None:
    """Settings that the pipeline takes, or the scorer; none is the whole system under another name."""
    for variant in VARIANTS:
        changed = variant.change(SETTINGS)
        assert (changed != SETTINGS) != (variant.pipelines is not build or variant.name == "everything")
        assert set(variant.pipelines(changed, None, "")) == set(build(SETTINGS))


def test_the_prior_ranks_whatever_was_learned() -> None:
    """A model that is there is not used."""
    model = Model(SETTINGS)
    assert build(SETTINGS, model, "learned-1")["feed"].scorer.version == "learned-1"
    assert prior(SETTINGS, model, "learned-1")["feed"].scorer.version.startswith("prior-")


def test_only_the_tables_of_the_page_are_exchanged() -> None:
    """Words around them stay; a page without a place for tables is refused."""
    assert written(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n{END}\nb"
    with pytest.raises(ValueError, match="where its tables stand"):
        written("a", "new")
