"""The variants of `make eval` differ from the whole in the one thing that they name."""

from __future__ import annotations

import pytest

from config.settings import load
from serving.build import build
from tools.quality import BEGIN, END, VARIANTS, without, written

SETTINGS = load(environ={})


@pytest.mark.parametrize(
    "variant", [variant for variant in VARIANTS if variant.name.startswith("without the source")], ids=lambda v: v.name
)
def test_a_source_that_is_switched_off_was_there(variant: object) -> None:
    """A name that no surface has would measure nothing."""
    name = variant.name.rsplit(" ", 1)[1]  # type: ignore[attr-defined]
    whole, less = build(SETTINGS)["feed"], without(name)(SETTINGS)["feed"]
    assert len(less.sources) + len(less.readers) == len(whole.sources) + len(whole.readers) - 1


def test_every_other_variant_changes_the_settings() -> None:
    """And all of them are settings that the pipeline takes."""
    for variant in VARIANTS:
        changed = variant.change(SETTINGS)
        assert (changed != SETTINGS) == (not variant.name.startswith(("everything", "without the source")))
        assert set(variant.pipelines(changed, None, "")) == set(build(SETTINGS))


def test_only_the_tables_of_the_page_are_exchanged() -> None:
    """Words around them stay; a page without a place for tables is refused."""
    assert written(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n{END}\nb"
    with pytest.raises(ValueError, match="where its tables stand"):
        written("a", "new")
