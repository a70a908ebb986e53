"""What each surface is made of. The pipeline is a list: a new component is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from config.settings import Settings
from models.model import Model, rates_of
from serving.feed import Pipeline
from serving.filters.asked import AskedFilter
from serving.filters.blocked import BlockedFilter
from serving.filters.channel import ChannelFilter
from serving.filters.hidden import HiddenFilter
from serving.filters.own import OwnFilter
from serving.filters.seen import SeenFilter
from serving.filters.status import DeletedFilter, ReviewFilter
from serving.filters.visibility import VisibilityFilter
from serving.scorers.learned import LearnedScorer
from serving.scorers.ordered import OrderedScorer, listed, newest
from serving.scorers.prior import PriorScorer
from serving.sources.behaviour import BehaviourSource, SimilarSource
from serving.sources.channel import ChannelSource
from serving.sources.follow import FollowSource
from serving.sources.friends import FriendsSource
from serving.sources.hot import HotSource
from serving.sources.interest import InterestSource
from serving.sources.nearby import NearbySource
from serving.sources.pool import PoolSource

EARLY = (SeenFilter(), AskedFilter())
FILTERS = (DeletedFilter(), ReviewFilter(), VisibilityFilter(), OwnFilter(), BlockedFilter(), HiddenFilter(), ChannelFilter())


def build(settings: Settings, model: Model | None = None, version: str = "") -> Mapping[str, Pipeline]:
    """Surface -> pipeline, ranking by that model; without one by the prior."""
    rules, half_lives = settings.feed, settings.notes.heat_half_lives_h
    prior = PriorScorer(rules.prior, rates_of(settings), settings.pool.weights, settings.interest, half_lives)
    scorer = LearnedScorer(prior, rules.value, half_lives, settings.learner.recent, model, version)
    tiers = len(settings.pool.tiers)

    feed = (
        InterestSource(rules),
        ChannelSource(rules),
        FollowSource(rules),
        NearbySource(rules, wide=True),
        PoolSource(rules, tiers, settings.lists.pool_head),
        HotSource(rules),
    )
    readers = (BehaviourSource(rules, settings.neighbours.shrink), FriendsSource(rules))
    following = (FollowSource(rules, authors=settings.users.follows),)
    nearby = (NearbySource(rules),)
    hot = (HotSource(rules),)
    return {
        "feed": Pipeline(feed, EARLY, FILTERS, scorer, pools=True, mixed=True, readers=readers),
        "following": Pipeline(following, EARLY, FILTERS, OrderedScorer(scorer, newest), pools=False),
        "nearby": Pipeline(nearby, EARLY, FILTERS, scorer, pools=False),
        # Hot is the same for everybody: what was seen stays.
        "hot": Pipeline(hot, EARLY[1:], FILTERS, OrderedScorer(scorer, listed), pools=False),
        "similar": Pipeline((), EARLY[1:], FILTERS, OrderedScorer(scorer, listed), pools=False, readers=(SimilarSource(),)),
    }
