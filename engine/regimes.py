"""Regimes: what kind of market a bar's close lies in, how surely, and what is then allowed.

A classifier says two columns of bars it knows: the number of the regime, which is its place among the classifier's
names, and a confidence from 0.5 at the border between two regimes to 1 where there is no doubt. They look back like any
other column, and a regime that is not known yet is none.

| classifier | regimes | by |
|---|---|---|
| `trend_chop_bear` | trend, chop, bear | how straight the way of the last bars was, and where it led |
| `bull_neutral_bear` | bull, neutral, bear | how far the close is from the mean of the last bars, in deviations |
| `tight_wide` | tight, wide | the deviation of the last returns against what has been usual |

`judged` makes of a regime what the simulator understands: a multiplier of sizes, and a refusal of entries. The regime
numbers go to the simulator too, which counts losing streaks by them. Exits are never held back.
"""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.causal import Bars, Column, where
from engine.errors import UnknownNameError
from engine.evaluation import Frames, evaluate
from engine.indicators import sma, stddev
from engine.signals.measures import efficiency, past
from engine.signals.registry import SIGNALS, members
from engine.simulator.words import REGIME_NOT_ALLOWED

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CHANCE = 1.25
"""The deviation of a random walk's efficiency ratio, times the root of its length: sqrt(pi / 2)."""
USUAL = 5
"""Over how many times its length a deviation is compared with what has been usual."""
UNSAID = -1
"""The number of a setup where there is none."""


class Regime(NamedTuple):
    """On each bar, the place of the regime among its classifier's names, and how surely."""

    number: Column
    confidence: Column


class Classifier(NamedTuple):
    names: tuple[str, ...]
    classify: Callable[[Bars, int], Regime]
    length: int  # in bars, where nobody says another


class Terms(NamedTuple):
    """What one regime allows."""

    signals: frozenset[str] = frozenset(SIGNALS)  # signal classes; none: nothing at all
    size: float = 1.0  # multiplier
    cash: float = 0.0  # share kept out of every size


class RegimeRules(NamedTuple):
    """How regimes are told, and what they allow; without `terms` they are only recorded."""

    classifier: str
    length: int
    timeframe: str
    terms: Mapping[str, Terms] | None = None  # by regime; one that is missing allows nothing
    min_confidence: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        return CLASSIFIERS[self.classifier].names


def regime(bars: Bars, classifier: str = "trend_chop_bear", *, length: int | None = None) -> Regime:
    """The regime of `bars` by a classifier's name; UnknownNameError, with the nearest, where it is none."""
    if classifier not in CLASSIFIERS:
        raise UnknownNameError("classifier", classifier, known=CLASSIFIERS)
    known = CLASSIFIERS[classifier]
    return known.classify(bars, known.length if length is None else length)


def trend_chop_bear(bars: Bars, length: int) -> Regime:
    """Up or down where the way of `length` bars led further than one deviation of a random walk's would."""
    return _by_sign(efficiency(bars.close, length), CHANCE / sqrt(length))


def bull_neutral_bear(bars: Bars, length: int) -> Regime:
    """Bull or bear where the close is more than one deviation of `length` bars from their mean."""
    deviation = stddev(bars.close, length)
    away = where(deviation > 0, (bars.close - sma(bars.close, length)) / deviation, 0.0)
    return _by_sign(away, 1.0)


def tight_wide(bars: Bars, length: int) -> Regime:
    """Wide where the deviation of `length` returns is above the median it had lately; no doubt at twice or half of it."""
    deviation = stddev(bars.close / bars.close.lag(1) - 1.0, length)
    usual = deviation.rolling_median(USUAL * length)
    apart = where(deviation + usual > 0, (deviation - usual) / (deviation + usual), 0.0)
    return Regime(where(apart > 0, 1.0, 0.0), 0.5 + 0.5 * (3.0 * apart.abs()).clip(0.0, 1.0))


CLASSIFIERS: Mapping[str, Classifier] = {
    "trend_chop_bear": Classifier(("trend", "chop", "bear"), trend_chop_bear, 50),
    "bull_neutral_bear": Classifier(("bull", "neutral", "bear"), bull_neutral_bear, 100),
    "tight_wide": Classifier(("tight", "wide"), tight_wide, 20),
}
DEFAULT_CLASSIFIER = "trend_chop_bear"


def classified(rules: RegimeRules, frames: Frames, timeframe: str) -> tuple[Floats, Floats]:
    """The regime's number and its confidence on every bar of `timeframe`; NaN where not known."""
    found = regime(Bars(timeframe).on(rules.timeframe), rules.classifier, length=rules.length)
    values = evaluate(found._asdict(), frames, timeframe)
    number, confidence = (values[name].fill_null(float("nan")).to_numpy() for name in Regime._fields)
    return number, confidence


class Verdict(NamedTuple):
    """What regimes make of entries; arrays of one shape."""

    multipliers: Floats
    refusals: NDArray[Any]  # NaN, or the number of `regime_not_allowed`


def judged(
    rules: RegimeRules, numbers: Floats, confidences: Floats, setups: Integers, setup_names: Sequence[str]
) -> Verdict | None:
    """What the regimes say to entries on each bar; None where they are only recorded.

    Args:
        rules: what each regime allows.
        numbers: the regime, NaN where not known: then nothing is entered.
        confidences: in it; below `rules.min_confidence` nothing is entered.
        setups: the place in `setup_names` of what would be entered, `UNSAID` where the strategy names none. One that is
            no signal class is allowed wherever anything is.
        setup_names: what setups are called.
    """
    if rules.terms is None:
        return None
    multipliers = np.ones(numbers.shape)
    allowed = np.zeros(numbers.shape, dtype=np.bool_)
    for number, name in enumerate(rules.names):
        if name in rules.terms:
            terms, here = rules.terms[name], numbers == number
            multipliers[here] = terms.size * (1.0 - terms.cash)
            allowed |= here & _fits(terms, setups, setup_names)
    allowed &= confidences >= rules.min_confidence
    return Verdict(multipliers, np.where(allowed, np.nan, REGIME_NOT_ALLOWED))


def _fits(terms: Terms, setups: Integers, setup_names: Sequence[str]) -> NDArray[np.bool_]:
    if not terms.signals:
        return np.zeros(setups.shape, dtype=np.bool_)
    refused = [n for n, name in enumerate(setup_names) if name in SIGNALS and name not in members(terms.signals)]
    return ~np.isin(setups, refused)


def _by_sign(value: Column, border: float) -> Regime:
    """The first regime above the border, the last below its negative, the middle one between."""
    beyond = past(value.abs(), border)
    return Regime(
        number=where(value > border, 0.0, where(value < -border, 2.0, 1.0)),
        confidence=where(value.abs() > border, beyond, 1.0 - beyond),
    )
