"""Settings: every default stands in `default.toml` with its comment; a TOML file and the environment override.

``UPWELL_CONFIG`` names the file; ``UPWELL_SECTION__NAME`` overrides one setting (lists and tables as JSON); ``UPWELL_KAFKA`` and
``UPWELL_REDIS`` are short for ``UPWELL_KAFKA__SERVERS`` and ``UPWELL_REDIS__URL``. An unknown or ill-typed setting raises
`SettingsError`, which names it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from config.keys import hash64

DEFAULTS = Path(__file__).with_name("default.toml")
SHORT = {"UPWELL_KAFKA": ("kafka", "servers"), "UPWELL_REDIS": ("redis", "url")}
NOT_SETTINGS = {"UPWELL_CONFIG"}


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the TOML file. No defaults here: they stand in `default.toml`."""


class Kafka(Section, frozen=True):
    servers: str
    prefix: str
    partitions: int
    replication: int
    security_protocol: str
    sasl_mechanism: str
    sasl_username: str
    sasl_password: str
    ssl_cafile: str
    fetch_wait_ms: int
    inner_fetch_wait_ms: int
    ends_s: float
    session_timeout_s: float
    heartbeat_s: float
    rebalance_timeout_s: float
    request_timeout_s: float


class Redis(Section, frozen=True):
    url: str
    cluster: bool
    timeout_s: float
    ssl_cafile: str


class Events(Section, frozen=True):
    aliases: dict[str, str]
    exposure: str
    finished_completion: float
    finished_dwell_ms: int
    max_record_bytes: int
    unknown_note_wait_ms: int
    facts_cache: int
    facts_ttl_s: float


class Engine(Section, frozen=True):
    piece_keys: int
    piece_bytes: int
    cache_mb: int
    slow_commit_s: float
    slow_stages: tuple[str, ...]
    poison_after: int
    tick_lag_s: float
    stall_s: int
    start_patience_s: float
    metrics_port: int
    metrics_host: str


class Strength(Section, frozen=True):
    """How far an action moves weights; an exposure without any moves them by at most 1 the other way."""

    click: float
    view: float
    finish: float
    like: float
    collect: float
    comment: float
    share: float
    product_click: float
    add_to_cart: float
    purchase: float
    follow: float
    hide: float
    report: float


class Interest(Section, frozen=True):
    tags: int
    authors: int
    channels: int
    passed_tags: int
    note_tags: int
    short_rate: float
    long_rate: float
    short_keep: float
    long_keep: float
    short_half_life_d: float
    long_half_life_d: float
    author_share: float
    channel_share: float
    default_rate: float
    signup_weight: float
    signup_fade: float
    strength: Strength


class Users(Section, frozen=True):
    exposures: int
    engaged: int
    event_ids: int
    recent: int
    pair_with: int
    follows: int
    follows_hot: int
    blocks: int
    hidden: int
    hidden_tags: int
    comments: int
    public: int
    signup_tags: int
    slates: int
    slate_minutes: float


class Feed(Section, frozen=True):
    candidates: int
    n_max: int
    interest_tags: int
    interest_authors: int
    interest_channels: int
    interest_places: int
    author_places: int
    channel_places: int
    pool_places: int
    hot_places: int
    reserve_places: int
    follow_authors: int
    follow_places: int
    friend_users: int
    friend_places: int
    behaviour_notes: int
    behaviour_places: int
    behaviour_keep: float
    nearby_km: float
    nearby_places: int
    pool_share: float
    pool_temperature: float
    pool_match: float
    pool_language: float
    pool_ahead: float
    pool_stale_s: float
    passed: int
    exclude_max: int
    cursor_hours: float
    cursor_shown: int
    after_ms: int
    poll_ms: float
    timeout_s: float
    snapshot_s: float
    fallback: int
    fallback_s: float
    explore_share: float
    explore_temperature: float
    explore_even: float
    spread: float
    spread_window: int
    tag_share: float
    prior: dict[str, float]
    rates: dict[str, float]
    value: dict[str, float]


Role = Literal["produce", "read", "operate"]
ROLES: tuple[Role, ...] = get_args(Role)
"""What a key is good for: to send and to change, to ask, and to see how the system is."""


class ApiKey(Section, frozen=True):
    """A key with a name, which logs may tell."""

    name: str
    key: str
    roles: tuple[Role, ...]


class Api(Section, frozen=True):
    host: str
    port: int
    keys: tuple[str | ApiKey, ...]
    origins: tuple[str, ...]
    body_bytes: int
    bodies_bytes: int
    request_s: float
    connections: int
    reads_at_once: int
    writes_at_once: int
    at_once_most: int
    produce_timeout_s: float
    slates_in_flight: int
    slates_wait_ms: float
    probe_s: float
    stale_s: float
    drain_s: float
    ops_page: bool
    demo_page: bool

    def named_keys(self) -> tuple[ApiKey, ...]:
        """All keys; one without a name is called by its place, and good for everything."""
        return tuple(ApiKey(f"key{place}", given, ROLES) if isinstance(given, str) else given for place, given in enumerate(self.keys, 1))

    def key_for(self, *roles: Role) -> str:
        """What our own commands send as `X-API-Key`: the first key with these roles; empty without one."""
        return next((key.key for key in self.named_keys() if set(roles) <= set(key.roles)), "")


class Log(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "text", "json"]


class Ops(Section, frozen=True):
    sample_s: float
    worker_silent_s: float
    lag_s: float
    fresh_s: float
    dead_rate: float
    feed_p99_ms: float
    degraded_share: float
    error_share: float
    model_age_s: float
    overdue: float


class Notes(Section, frozen=True):
    heat_half_lives_h: tuple[float, ...]
    tags: int
    history: int
    unknown_hours: float
    facts_step: float
    look_least: int
    look_share: float
    follower_lift: float
    title_bytes: int
    body_bytes: int
    url_bytes: int
    images: int
    products: int
    channels: int
    points: dict[str, float]


class Lists(Section, frozen=True):
    head: int
    pool_head: int
    hot_head: int
    popular_half_life_h: float
    popular_seed: float
    popular_step: float
    quality_share: float
    hot_half_life_h: float
    hot_weight: float
    hot_step: float
    placement_step: float
    bars_seconds: float


class PoolTier(Section, frozen=True):
    name: str
    quota: int
    window_hours: float
    bar: float
    promote: float
    stop: float
    pace: float
    boost: float


class PoolPrior(Section, frozen=True):
    slopes: dict[str, float]
    rates: dict[str, float]
    rho: float
    shape: float
    rate_strength: float
    level_strength: float
    slope_strength: float
    bar_strength: float
    window: int


class Pool(Section, frozen=True):
    """Checked further, and made into what decisions take, by `models.pool.rules`."""

    base_share: float
    deliver_hours: float
    creator_bonus: int
    creator_notes: int
    creator_followers: int
    reopen: float
    life_hours: float
    half_life_hours: float
    optimism: float
    weights: dict[str, float]
    prior: PoolPrior
    tiers: tuple[PoolTier, ...]


class Neighbours(Section, frozen=True):
    """What is engaged with together (`models/neighbours.py`)."""

    slots: int
    head: int
    batch: int
    youth: float
    shrink: float
    near_seconds: float
    half_life_days: float


class Learner(Section, frozen=True):
    """What is learned of slates and actions (`models/model.py`)."""

    factors: int
    items: int
    users: int
    keep: tuple[float, ...]
    recent: int
    rate: float
    bias_rate: float
    factor_rate: float
    user_rate: float
    shrink: float
    depth: float
    anchor: dict[str, float]
    likes: int
    like_factors: int
    like_rate: float
    like_shrink: float
    trusted: int
    negatives: float
    capacity: float
    action_rate: float
    patience: float
    classifier: str
    classifiers: dict[str, str]
    parameters: dict[str, Any]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All sections; see `default.toml` for what each setting means."""

    kafka: Kafka
    redis: Redis
    events: Events
    engine: Engine
    users: Users
    interest: Interest
    feed: Feed
    api: Api
    log: Log
    ops: Ops
    notes: Notes
    lists: Lists
    neighbours: Neighbours
    learner: Learner
    pool: Pool


SECRET = {"sasl_password", "keys", "key", "url"}
_IN_QUERY = re.compile(r"([?&](?:username|password)=)[^&]*", re.IGNORECASE)


def load(path: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Defaults, then the file, then the environment."""
    values = tomllib.loads(DEFAULTS.read_text("utf-8"))
    path = path or environ.get("UPWELL_CONFIG")
    if path:
        try:
            overlay(values, tomllib.loads(Path(path).read_text("utf-8")), "")
        except OSError as error:
            raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not TOML: {error}") from None
    for name, text in sorted(environ.items()):
        if name.startswith("UPWELL_") and name not in NOT_SETTINGS:
            section, field = SHORT.get(name) or from_environment(name)
            overlay(values, {section: {field: parse(values, section, field, text)}}, "")
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}") from None


def from_environment(name: str) -> tuple[str, str]:
    section, separator, field = name.removeprefix("UPWELL_").lower().partition("__")
    if not separator:
        raise SettingsError(f"unknown setting {name}: UPWELL_SECTION__NAME is the form, for example UPWELL_KAFKA__PARTITIONS")
    return section, field


def overlay(values: dict[str, Any], over: Mapping[str, Any], where: str) -> None:
    """`over` into `values`, field by field; a name that the defaults do not have is an error (but inside free-form tables)."""
    for name, value in over.items():
        path = f"{where}{name}"
        if name not in values and path.count(".") < 2:
            raise SettingsError(f"unknown setting {path}")
        if isinstance(values.get(name), dict) and isinstance(value, dict) and path not in FREE:
            overlay(values[name], value, f"{path}.")
        else:
            values[name] = value


FREE = {"events.aliases", "learner.classifiers", "learner.parameters"}


def parse(values: Mapping[str, Any], section: str, field: str, text: str) -> Any:
    """The environment's text as the type of the default it replaces."""
    default = values.get(section, {}).get(field)
    if default is None:
        raise SettingsError(f"unknown setting {section}.{field}")
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise SettingsError(f"setting {section}.{field} wants true or false, got {text!r}")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        got = "something else" if field in SECRET else repr(text[:100])
        raise SettingsError(f"setting {section}.{field} wants {type(default).__name__}, got {got}") from None


def digest(*sections: Section) -> str:
    """A short hash of the settings that shape a fold, for checkpoints and slates."""
    return f"{hash64(msgspec.json.encode(sections)):016x}"


def masked(settings: Settings) -> dict[str, Any]:
    """The effective settings as plain data, secrets masked; for `upwell config`."""

    def mask(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: mask(k, v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [mask(name, one) for one in value]
        if name == "url":
            head, at, tail = value.rpartition("@")
            return _IN_QUERY.sub(r"\1***", f"{head.partition('://')[0]}://***@{tail}" if at else value)
        return "***" if name in SECRET and value else value

    return {name: mask(name, value) for name, value in msgspec.to_builtins(settings).items()}


__all__ = ["Settings", "SettingsError", "digest", "load", "masked"]
