"""What is proved of a strategy, in order: first what it says, then that it decides so.

1. `static_walk` over what it says. A tree that polars cannot write down cannot be computed in parts
   either; then the laws that need its parts are not run, which is a failure of them.
2. On each instrument's bars: every node cut at every bar, what is decided held against what the columns say at every
   bar, and the whole cut at chosen ones.
3. On made-up bars: the same again, and which of its signals fired there or on real bars.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import polars as pl

from engine.causal import FEATURE, Bars, Column
from engine.errors import EngineError
from engine.strategy import Stateful, Strategy, signals_of, warm_up_bars
from engine.strategy import asked as asked_of
from quality.lookahead.cuts import Asked, poison, prefix_at_cuts
from quality.lookahead.every_bar import beyond_rounding, every_bar
from quality.lookahead.laws import Law, LawName, broken, held
from quality.lookahead.made_up import BARS, fired, made_up
from quality.lookahead.market import Market
from quality.lookahead.polars_nodes import OPAQUE
from quality.lookahead.revealed import revealed
from quality.lookahead.static_walk import offences_of, static_walk, walked

NONE: Mapping[str, Column] = MappingProxyType({})
_RUN: tuple[LawName, ...] = ("prefix", "poison", "warm_up", "alignment")
_OPAQUE = "not run: it uses a Python function, which cannot be computed in parts"


class Proof(NamedTuple):
    """What was found on one instrument, and what was decided on it."""

    laws: list[Law]
    decided: pl.DataFrame


def proof(
    strategy: Strategy,
    market: Market,
    timeframe: str,
    features: Mapping[str, Column] = NONE,
    beside: Mapping[str, Column] = NONE,
) -> Proof:
    """Prove `static_walk`, `prefix`, `poison`, `warm_up` and `alignment` on one instrument's bars.

    Args:
        strategy: with its parameters.
        market: what it looks at.
        timeframe: the one it runs on.
        features: how the features that the bars carry are computed, by name; those it uses are proved with it.
        beside: what else is looked at where it decides, as the regime is.
    """
    said = said_of(strategy, market, timeframe)
    used = {name: features[name] for name in _features_used(said.values()) if name in features}
    columns = {**said, **{f"{FEATURE} {name}": column for name, column in used.items()}, **beside}
    walk = static_walk(columns)
    if not columns:
        walk = held("static_walk", "it is asked bar by bar: there is no tree, and a window that ends with the bar")
    if any(is_opaque(column) for column in columns.values()):
        return Proof([walk, *(broken(name, _OPAQUE) for name in _RUN)], pl.DataFrame())
    try:
        signals = asked_of(strategy, market.frames[market.instrument], timeframe)  # once: symbols know no data
        whole = market.decided(strategy, timeframe, signals)
    except EngineError as error:
        return Proof([walk, *(broken(name, f"it cannot be asked: {error}") for name in _RUN)], pl.DataFrame())
    asked = Asked(
        lambda seen: seen.decided(strategy, timeframe, signals),
        market,
        timeframe,
        _history(strategy, market, timeframe),
    )
    laws = [walk, prefix_at_cuts(asked, whole), poison(asked, whole)]
    if isinstance(strategy, Stateful):
        declared = f"it declares a warm-up of {strategy.warm_up} bars, and what it remembers is its own"
        seen = "its window has what had closed by then: proved with the prefix law"
        laws += [revealed(strategy, market, timeframe, whole), held("warm_up", declared), held("alignment", seen)]
    else:
        laws.append(as_said(said, market, timeframe, whole))
    if columns:
        laws = [*every_bar(columns, market, timeframe), *laws]
    if used:
        laws.append(as_computed(used, market, timeframe))
    return Proof(laws, whole)


def as_said(said: Mapping[str, Column], market: Market, timeframe: str, whole: pl.DataFrame) -> Law:
    """What is decided on every bar is what the columns say on it, from the first on which all have been known."""
    values = market.computed(said, (market.instrument, timeframe)).select(*said)
    warm = values.select(pl.all_horizontal(pl.all().is_not_null().cum_max())).to_series()
    for name in (name for name in said if name in whole.columns):
        known = values[name].fill_null(value=False) if values[name].dtype == pl.Boolean else values[name]
        expected = pl.select(pl.when(warm).then(known)).to_series()
        expected = expected.fill_null(value=False) if expected.dtype == pl.Boolean else expected
        if (wrong := whole[name].ne_missing(expected).arg_true()).len():
            bar = int(wrong[0])
            detail = f"{name} is decided as {whole[name][bar]} on the bar of {whole['ts'][bar]}, and its column says"
            return broken("prefix", f"{detail} {expected[bar]}", first_bar=bar, column=name)
    return held("prefix", "what is decided on every bar is what the columns say")


def as_computed(features: Mapping[str, Column], market: Market, timeframe: str) -> Law:
    """The features that bars carry are what their columns say, to 1e-8."""
    values, kept = market.computed(features, (market.instrument, timeframe)), market.bars(timeframe)
    for name in features:
        apart = beyond_rounding(kept[name].fill_nan(None), values[name])
        if (wrong := apart.arg_true()).len():
            bar = int(wrong[0])
            detail = f"{FEATURE} {name} is kept as {kept[name][bar]} on the bar of {kept['ts'][bar]}, and computed"
            return broken("prefix", f"{detail} as {values[name][bar]}", first_bar=bar, column=name)
    return held("prefix", f"{len(features)} features are kept as they are computed")


def rare_states(strategy: Strategy, market: Market, timeframe: str, decided: Mapping[str, pl.DataFrame]) -> Law:
    """Prove the prefix law on made-up bars, and tell what never fired on them nor among what was `decided`."""
    if any(is_opaque(column) for column in said_of(strategy, market, timeframe).values()):
        return broken("rare_states", _OPAQUE)
    n_bars = _history(strategy, market, timeframe) + BARS
    invented = made_up(market, timeframe, n_bars=n_bars)
    found = proof(strategy, invented, timeframe)
    for law in found.laws:
        if law.law == "prefix" and not law.passed:
            return broken("rare_states", f"on made-up bars: {law.detail}", first_bar=law.first_bar, column=law.column)
    names = [*said_of(strategy, market, timeframe)] or [*found.decided.columns[2:6]]
    counted = fired({**decided, "made up": found.decided}, [name for name in names if name in found.decided.columns])
    never = [name for name, count in counted.items() if not count]
    told = ", ".join(f"{name} {count}" for name, count in counted.items() if count) or "nothing"
    detail = f"{n_bars} made-up bars kept the prefix law; on them and on real bars fired {told}"
    return held("rare_states", f"{detail}; never fired: {', '.join(never)}" if never else detail)


def said_of(strategy: Strategy, market: Market, timeframe: str) -> dict[str, Column]:
    """Its columns by name; none of one that is asked bar by bar."""
    if isinstance(strategy, Stateful):
        return {}
    return signals_of(strategy, Bars(timeframe, dict.fromkeys(market.features(timeframe), 0))).said


def is_opaque(column: Column) -> bool:
    """Has it a node of which polars cannot say what it is?"""
    return any(OPAQUE in offences_of(node) for node in walked(column))


def _features_used(columns: Iterable[Column]) -> list[str]:
    nodes = (node for column in columns for node in walked(column) if node.name == FEATURE)
    return sorted({str(dict(node.settings)["name"]) for node in nodes})


def _history(strategy: Strategy, market: Market, timeframe: str) -> int:
    return warm_up_bars(strategy, timeframe, features=dict.fromkeys(market.features(timeframe), 0))
