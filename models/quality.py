"""How good a note is, judged by what it earned against what was expected of those exposures.

Two hidden numbers stand behind a note: its appeal (is it opened?) and its quality (what do those do who opened it?). Both are log-ratios
to an average note *shown to the same people at the same places*, since the expectation of an exposure is what the scorer logged for it:

    clicks       ~ Poisson(e_0 exp(b_0 + s_0 u))                    u ~ N(0, 1)
    action k     ~ Poisson(t_k exp(b_k + s_k z) g_k)                z ~ N(rho u, 1 - rho^2)      t_k = e_k clicks / e_0
    own taste      g_k ~ Gamma(shape a, rate a)                     a note may be liked more than it is shared

The value of a note is what its exposures earn among the average audience, V = sum_k weight_k rate_k exp(b_k + s_0 u + s_k z) g_k, and the
posterior of log V is close to normal: a few Newton steps, no sampling, 12 us. A posterior may be looked at after every signal.

Everything here is a pure function of counts that only add up: how exposures were split into signals cannot matter. `math` only, so that
every replay gives the same bits.

References
----------
Gamma-Poisson shrinkage: DuMouchel, "Bayesian data mining in large frequency tables", The American Statistician 53, 1999.
Laplace's approximation and the Gaussian smoother between the two factors: Bishop, "Pattern Recognition and Machine Learning", 4.4, 13.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from config.settings import PoolPrior

ACTIONS = ("click", "like", "collect", "comment", "share", "follow")
"""The actions that are evidence, in the order of every tuple here; each name also stands in `config.events.PREDICTED`."""

POST = range(1, len(ACTIONS))
VERSION = 1
NONE = (0.0,) * len(ACTIONS)
Z90 = 1.6448536269514722
NEWTON_STEPS = 2
FARTHEST = 30.0
"""standard deviations that appeal may lie above the average: beyond what happens, and within what `math.exp` takes"""


class Evidence(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a note's organic exposures brought, and what the scorer had expected of exactly those exposures.

    An action without a known exposure, a paid exposure, test and bot traffic never enter: the caller adds nothing for them.

    >>> one = Evidence().exposed((0.16, 0.005, 0.003, 0.001, 0.001, 0.0))
    >>> both = one.acted("click")
    >>> both.exposures, both.observed[0], both.expected[0]
    (1.0, 1.0, 0.16)
    """

    exposures: float = 0.0
    observed: tuple[float, ...] = NONE
    expected: tuple[float, ...] = NONE
    version: int = VERSION

    def exposed(self, expected: Sequence[float], times: int = 1) -> Evidence:
        """One more exposure (or one taken back, `times` = -1) with what was expected of it."""
        total = tuple(a + times * b for a, b in zip(self.expected, expected, strict=True))
        return Evidence(self.exposures + times, self.observed, total)

    def acted(self, action: str, times: int = 1) -> Evidence:
        """One more action that followed a known organic exposure, or one taken back."""
        k = ACTIONS.index(action)
        counts = self.observed
        return Evidence(self.exposures, (*counts[:k], counts[k] + times, *counts[k + 1 :]), self.expected)


class Bars(msgspec.Struct, array_like=True, frozen=True):
    """What a channel's recent notes teach: the prior of the next note, and the bars it has to pass. A new version replaces the last."""

    channel: str
    number: int
    """grows by one with every publication; 0 are those of the settings"""
    lift: tuple[float, ...]
    """exp(b_k): what a median note earns over what is expected of it"""
    slope: tuple[float, ...]
    """s_k: log-odds by which one standard deviation of appeal (click) or quality moves an action"""
    rho: float
    """correlation of appeal and quality"""
    shape: float
    """a: the larger, the more alike a note's actions are"""
    rate: tuple[float, ...]
    """expected actions per exposure, averaged over the channel's audience"""
    cuts: tuple[float, ...]
    """value per exposure that opens each tier; 0 for the base tier"""
    version: int = VERSION


class Quality(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The posterior of a note's value per exposure: log V ~ N(log, sd^2)."""

    log: float
    sd: float

    @property
    def mean(self) -> float:
        """Expected value per exposure: what an exposure earns in weighted actions (CES)."""
        return math.exp(self.log + 0.5 * self.sd * self.sd)

    @property
    def low(self) -> float:
        """Lower end of the 90 % interval."""
        return math.exp(self.log - Z90 * self.sd)

    @property
    def high(self) -> float:
        """Upper end of the 90 % interval."""
        return math.exp(self.log + Z90 * self.sd)

    def above(self, bar: float) -> float:
        """Probability that the note is better than `bar`, in value per exposure."""
        if bar <= 0.0:
            return 1.0
        return 0.5 * math.erfc((math.log(bar) - self.log) / (self.sd * math.sqrt(2.0)))


def appeal(observed: Sequence[float], expected: Sequence[float], bars: Bars) -> tuple[float, float, float]:
    """Mean and variance of u from clicks alone, and the share of expected clicks that came: (0, 0, 1) where no clicks are logged."""
    s, e = bars.slope[0], expected[0]
    if e <= 0.0:
        return 0.0, 0.0 if any(expected) or bars.rate[0] <= 0.0 else 1.0, 1.0
    clicks = max(observed)  # who acted has opened, whether or not the app told
    base, prior = e * bars.lift[0], 1.0 / (s * s)
    u = math.log((clicks + prior) / (base + prior)) / s
    for _ in range(2):
        mean = base * math.exp(s * u)
        u += (s * (clicks - mean) - u) / (s * s * mean + 1.0)
        u = min(u, FARTHEST)  # thousands of clicks where next to none were expected
    return u, 1.0 / (s * s * base * math.exp(s * u) + 1.0), clicks / e


def taste(rows: Sequence[tuple[float, float, float]], shape: float, centre: float, spread: float) -> tuple[float, float]:
    """Mode and variance of z: prior N(centre, spread); a count is negative binomial around t exp(s z), since g is integrated out.

    `rows` are (s, count, t). The log-posterior is concave; Newton's steps are kept below one standard deviation of the prior of z.
    """
    precision, curve, exp = 1.0 / spread, 0.0, math.exp
    typical = rows[0][0]
    likely = precision / (typical * typical)  # all actions as one, gamma for normal: where the steps begin
    counts, base = sum([row[1] for row in rows]), sum([row[2] for row in rows]) * exp(typical * centre)
    z = centre + math.log((counts + likely) / (base + likely)) / typical
    for _ in range(NEWTON_STEPS):
        slope, curve = precision * (centre - z), precision
        for s, count, t in rows:
            mean = t * exp(s * z)
            pull = s * shape / (mean + shape)
            slope += pull * (count - mean)
            curve += pull * s * mean * (count + shape) / (mean + shape)
        step = slope / curve
        z += step if -1.0 < step < 1.0 else math.copysign(1.0, step)
    return z, 1.0 / curve


def assess(evidence: Evidence, bars: Bars, weights: Sequence[float]) -> Quality:
    """The posterior of log V given the evidence: clicks first, then what followed them, then back (a smoother of two steps).

    Parameters
    ----------
    evidence
        Counts and expectations over the same organic exposures.
    bars
        The channel's prior.
    weights
        Worth of each of `ACTIONS`; the click's own is not used, since opening is not engagement.
    """
    lift, slope, rate, rho, shape = bars.lift, bars.slope, bars.rate, bars.rho, bars.shape
    observed, expected = evidence.observed, evidence.expected
    u, var_u, opened = appeal(observed, expected, bars)
    spread = 1.0 - rho * rho * (1.0 - var_u)
    rows = [(slope[k], observed[k], opened * lift[k] * expected[k]) for k in POST]
    z, var_z = taste(rows, shape, rho * u, spread)
    gain = rho * var_u / spread
    u += gain * (z - rho * u)
    var_u -= gain * gain * (spread - var_z)

    total = by_z = own = 0.0
    for k, (s, count, t) in zip(POST, rows, strict=True):
        ratio = math.exp(s * z)
        rest = shape + t * ratio
        part = weights[k] * rate[k] * lift[k] * ratio * (count + shape) / rest
        total += part
        by_z += part * s * shape / rest
        own += part * part / (count + shape)
    by_z, own = by_z / total, own / (total * total)
    s = slope[0]
    variance = s * s * var_u + (2.0 * s * gain + by_z) * by_z * var_z + own
    return Quality(math.log(total * lift[0]) + s * u, math.sqrt(variance))


# ------------------------------------------------------------------------------------------------- what recent notes teach


class Recent(msgspec.Struct):
    """A channel's recent notes, of bounded size: the evidence of the last `window` notes, and decayed moments of their base tiers.

    Moments come from the base tier alone, because there every note gets its exposures whatever it earns: later counts are chosen by
    what was seen before, and would pass luck off as spread. Rows are replaced as a note climbs, so that bars know the best notes well.
    """

    channel: str
    number: int = 0
    exposures: float = 0.0
    observed: list[float] = msgspec.field(default_factory=lambda: list(NONE))
    expected: list[float] = msgspec.field(default_factory=lambda: list(NONE))
    opened: list[float] = msgspec.field(default_factory=lambda: list(NONE))
    """expected actions given the clicks that came"""
    excess: list[float] = msgspec.field(default_factory=lambda: [0.0] * 4)
    """how far counts vary and move together beyond chance: clicks, clicks with the rest, the rest in pairs, the rest alone"""
    scale: list[float] = msgspec.field(default_factory=lambda: [0.0] * 4)
    """the same products of expectations"""
    rows: dict[int, Evidence] = {}
    version: int = VERSION

    def add(self, note: int, tier: int, evidence: Evidence, prior: PoolPrior) -> None:
        """A note ended a tier with this evidence."""
        if note in self.rows:
            self.rows[note] = evidence
        elif tier == 0 and evidence.exposures > 0.0:
            self.rows[note] = evidence
            if len(self.rows) > prior.window:
                del self.rows[next(iter(self.rows))]
            self.remember(evidence, prior)

    def remember(self, evidence: Evidence, prior: PoolPrior) -> None:
        """The moments of one more base tier; old ones fade with the window."""
        keep, observed = 1.0 - 1.0 / prior.window, evidence.observed
        if evidence.expected[0] > 0.0:
            observed = (
                max(observed),
                *observed[1:],
            )  # as `appeal` counts: an app may tell no clicks, and the scorer expects them all the same
        opened = thinned(evidence)
        self.exposures = keep * self.exposures + evidence.exposures
        self.observed = faded(self.observed, keep, observed)
        self.expected = faded(self.expected, keep, evidence.expected)
        self.opened = faded(self.opened, keep, opened)
        mean = times(ratios(self.observed, self.expected, prior), evidence.expected)
        given = times(ratios(self.observed, self.opened, prior), opened)
        gap = [o - m for o, m in zip(observed, mean, strict=True)]
        rest = [o - m for o, m in zip(observed[1:], given[1:], strict=True)]
        squares, scales = sum(r * r for r in rest), sum(m * m for m in given[1:])
        excess = (
            gap[0] * gap[0] - mean[0],
            gap[0] * sum(gap[1:]) - sum(mean[1:]),  # every action has its click: that much moves together by itself
            sum(rest) ** 2 - squares,
            squares - sum(given[1:]),
        )
        self.excess = faded(self.excess, keep, excess)
        self.scale = faded(self.scale, keep, (mean[0] * mean[0], mean[0] * sum(mean[1:]), sum(given[1:]) ** 2 - scales, scales))

    def bars(self, prior: PoolPrior, weights: Sequence[float], quantiles: Sequence[float]) -> Bars:
        """The next publication: the prior that fits these notes, and the values that open each tier among them."""
        self.number += 1
        return fit(self, prior, weights, quantiles)


def default_bars(channel: str, prior: PoolPrior, weights: Sequence[float], quantiles: Sequence[float]) -> Bars:
    """The bars of the settings, until a channel's first own ones come."""
    return fit(Recent(channel), prior, weights, quantiles)


def fit(recent: Recent, prior: PoolPrior, weights: Sequence[float], quantiles: Sequence[float]) -> Bars:
    """Moments to parameters, each shrunk towards the settings by what it rests on; then bars, by the posteriors of all rows.

    For a log-normal factor, E[(o_j - m_j)(o_k - m_k)] / (m_j m_k) = exp(s_j s_k) - 1 beyond chance: slopes follow from how actions move
    together, and what one action varies by itself is its own taste.
    """
    slopes = [prior.slopes[name] for name in ACTIONS]
    click, post = slopes[0], sum(slopes[1:]) / (len(slopes) - 1)
    believed = [click * click, click * click + prior.rho * click * post, post * post, post * post + math.log1p(1.0 / prior.shape)]
    logs = [
        math.log1p(max(0.0, (x + prior.slope_strength * math.expm1(b)) / (d + prior.slope_strength)))
        for x, d, b in zip(recent.excess, recent.scale, believed, strict=True)
    ]
    click = math.sqrt(max(logs[0], 0.01))
    stretch = math.sqrt(max(logs[2], 0.04)) / post
    rho = max(0.0, min(0.9, (logs[1] - logs[0]) / (click * post * stretch)))
    shape = 1.0 / math.expm1(max(logs[3] - logs[2], 0.01))
    slope = (click, *(stretch * s for s in slopes[1:]))
    ratio = ratios(recent.observed, recent.opened, prior)
    lift = [r * math.exp(-0.5 * s * s - (rho * click * s if k else 0.0)) for k, (r, s) in enumerate(zip(ratio, slope, strict=True))]
    known = recent.exposures
    rate = [
        (e + prior.rate_strength * prior.rates[name]) / (known + prior.rate_strength)
        for e, name in zip(recent.expected, ACTIONS, strict=True)
    ]
    if known > 0.0 and recent.expected[0] <= 0.0:
        rate[0], lift[0] = 0.0, 1.0  # an app that logs no clicks
    bars = Bars(recent.channel, recent.number, tuple(lift), slope, rho, shape, tuple(rate), ())
    rows = [assess(evidence, bars, weights) for evidence in recent.rows.values()]
    return msgspec.structs.replace(bars, cuts=cuts(rows, assess(Evidence(), bars, weights), prior.bar_strength, quantiles))


def cuts(rows: Sequence[Quality], believed: Quality, strength: float, quantiles: Sequence[float]) -> tuple[float, ...]:
    """Value that a share 1 - q of recent notes exceeds: the mean of their posteriors, and the prior with the weight of `strength` notes.

    Quantiles of posterior means would lie too low: means are drawn together.
    """
    found: list[float] = []
    points = [(row.log, 1.0 / (row.sd * math.sqrt(2.0))) for row in rows]
    centre, width = believed.log, 1.0 / (believed.sd * math.sqrt(2.0))
    for q in quantiles:
        if q <= 0.0:
            found.append(0.0)
            continue
        low, high = centre - 8.0 * believed.sd, centre + 8.0 * believed.sd
        wanted = 2.0 * (1.0 - q) * (len(points) + strength)
        for _ in range(20):
            middle = 0.5 * (low + high)
            over = strength * math.erfc((middle - centre) * width) + sum([math.erfc((middle - m) * w) for m, w in points])
            low, high = (middle, high) if over > wanted else (low, middle)
        found.append(math.exp(0.5 * (low + high)))
    return tuple(found)


def thinned(evidence: Evidence) -> list[float]:
    """What was expected of each action, given the clicks that came."""
    expected = evidence.expected
    opened = max(evidence.observed) / expected[0] if expected[0] > 0.0 else 1.0
    return [expected[0], *(opened * e for e in expected[1:])]


def ratios(observed: Sequence[float], expected: Sequence[float], prior: PoolPrior) -> list[float]:
    """Observed over expected, drawn towards one: a scorer is calibrated until its channel says otherwise."""
    return [(o + prior.level_strength) / (e + prior.level_strength) for o, e in zip(observed, expected, strict=True)]


def faded(total: Sequence[float], keep: float, more: Sequence[float]) -> list[float]:
    return [keep * a + b for a, b in zip(total, more, strict=True)]


def times(left: Sequence[float], right: Sequence[float]) -> list[float]:
    return [a * b for a, b in zip(left, right, strict=True)]


encode = msgspec.msgpack.Encoder().encode
decode_bars = msgspec.msgpack.Decoder(Bars).decode
decode_evidence = msgspec.msgpack.Decoder(Evidence).decode
decode_recent = msgspec.msgpack.Decoder(Recent).decode
