"""What cannot mean anything is refused before a run, with the place, what was seen and what is allowed."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from engine.costs import BPS
from engine.errors import (
    OutOfBoundsError,
    UnalignedError,
    UnknownNameError,
    UnusableBarError,
)
from engine.simulator.inputs import (
    Decisions,
    Exits,
    Instrument,
    Market,
    Rules,
    Size,
    Stop,
    Trail,
)
from engine.simulator.words import (
    MAX_TARGETS,
    Kind,
    LimitFill,
    Liquidation,
    Margin,
    Path,
    SizeModel,
    SlippageModel,
)

_GRIDS = (
    "opens",
    "highs",
    "lows",
    "closes",
    "splits",
    "dividends",
    "volumes",
    "conversions",
    "delisted",
)
_MARKS = ("mark_opens", "mark_highs", "mark_lows", "mark_closes")
_COLUMNS = (
    *("multipliers", "refusals", "regimes", "strengths", "confidences", "targets", "weights"),
    *("regime_confidences", "setups", "biases"),
)


def check(
    market: Market,
    decisions: Decisions,
    instruments: Sequence[Instrument],
    rules: Rules,
) -> None:
    """Refuse a run.

    Raises:
        UnalignedError: shapes differ.
        UnusableBarError: times not ascending, a bar partly missing or impossible, an action or a decision without bar.
        OutOfBoundsError, UnknownNameError: an instrument, a rule or a fee that cannot mean anything.
    """
    _check_instruments(instruments, rules, marked=market.mark_opens is not None)
    _check_rules(rules)
    _check_shapes(market, decisions, len(instruments))
    _check_times(market, first_fee_us=rules.fees[0].start_us if rules.fees else None)
    _check_bars(market, decisions)
    _check_targets(decisions)
    _check_listed(decisions, len(market.ts), len(instruments))


def _check_instruments(instruments: Sequence[Instrument], rules: Rules, *, marked: bool) -> None:
    for one in instruments:
        known("kind", one.kind, get_args(Kind))
        known("margin", one.margin, get_args(Margin))
        known("liquidation formula", one.liquidation, get_args(Liquidation))
        for name in ("tick", "lot", "contract_size"):
            _check_bounds(f"{one.id}.{name}", getattr(one, name), above=0.0)
        for name in ("min_notional", "maintenance_amount", "extra_margin"):
            _check_bounds(f"{one.id}.{name}", getattr(one, name), least=0.0)
        _check_bounds(f"{one.id}.half_spread_bps", one.half_spread_bps, least=0.0, below=1 / BPS)
        _check_bounds(f"{one.id}.leverage", one.leverage, least=1.0)
        _check_bounds(f"{one.id}.maintenance_margin", one.maintenance_margin, least=0.0, below=1.0)
        if one.kind == "spot" and one.leverage != 1:
            raise OutOfBoundsError(f"{one.id}.leverage", one.leverage, allowed="1 where the kind is spot")
        if one.kind != "spot" and one.leverage > 1 and not marked and not rules.liquidate_on_last:
            remedy = "give mark bars, or say liquidate_on: last"
            raise OutOfBoundsError(
                f"{one.id}.leverage",
                one.leverage,
                allowed="1 without mark bars",
                remedy=remedy,
            )
        if one.kind == "inverse" and one.margin == "cross":
            raise OutOfBoundsError(f"{one.id}.margin", one.margin, allowed="isolated where the kind is inverse")
        if one.kind != "spot" and one.margin == "cross" and one.liquidation != "binance":
            remedy = "the other formulas are for isolated margin"
            raise OutOfBoundsError(
                f"{one.id}.liquidation",
                one.liquidation,
                allowed="binance with cross",
                remedy=remedy,
            )


def _check_rules(rules: Rules) -> None:
    for what, name, names in (
        ("path", rules.path, get_args(Path)),
        ("limit fill", rules.limit_fill, get_args(LimitFill)),
        *(("slippage model", one.model, get_args(SlippageModel)) for one in (rules.slippage, *rules.slippage_of)),
    ):
        known(what, name, names)
    _check_bounds("cash", rules.cash, above=0.0)
    _check_bounds("borrow_bps_per_day", rules.borrow_bps_per_day, least=0.0)
    _check_bounds("delisting_recovery", rules.delisting_recovery, least=0.0)
    _check_bounds("rebalance_band", rules.rebalance_band, least=0.0)
    known("entry type", rules.entry.type, ("market", "limit"))
    _check_bounds("entry.offset_bps", rules.entry.offset_bps, least=0.0, below=1 / BPS)
    if not np.isnan(rules.participation):
        _check_bounds("participation", rules.participation, least=0.0)
    if not rules.fees and rules.per_share is None:
        raise OutOfBoundsError(
            "fees",
            rules.fees,
            allowed="at least one period",
            remedy="write a period with a tier",
        )
    check_size(rules.size)
    check_exits(rules.exits)
    if rules.size.model == "risk_per_trade" and rules.exits.stop is None:
        raise OutOfBoundsError("stop", None, allowed="one", remedy="risk_per_trade needs a stop")


def check_size(size: Size) -> None:
    known("size model", size.model, get_args(SizeModel))
    _check_bounds("size.amount", size.amount, above=0.0)
    _check_bounds("size.cap", size.cap, above=0.0)


def check_exits(exits: Exits) -> None:
    """Of a plan to leave a position, as far as it can be judged without prices."""
    _check_distance("stop", exits.stop)
    _check_distance("trail", exits.trail)
    _check_distance("runner_trail", exits.runner_trail)
    targets = exits.targets
    if targets and exits.stop is None and exits.trail is None and any(target.price is None for target in targets):
        raise OutOfBoundsError("stop", None, allowed="one", remedy="targets in multiples of R need a stop")
    if exits.break_even_after is not None and not 1 <= exits.break_even_after <= len(targets):
        raise OutOfBoundsError(
            "targets",
            targets,
            allowed=f"at least {exits.break_even_after} with break_even_after",
        )
    if len(targets) > MAX_TARGETS:
        raise OutOfBoundsError("targets", len(targets), allowed=f"at most {MAX_TARGETS}")
    for target in targets:
        if target.r is not None:
            _check_bounds("targets.r", target.r, above=0.0)
        _check_bounds("targets.share", target.share, above=0.0)
    multiples = [target.r for target in targets if target.r is not None]
    if any(nearer >= farther for nearer, farther in pairwise(multiples)):
        raise OutOfBoundsError("targets.r", multiples, allowed="ascending")
    if sum(target.share for target in targets) > 1 + 1e-9:
        raise OutOfBoundsError(
            "targets.share",
            [target.share for target in targets],
            allowed="at most 1 in sum",
        )


def _check_distance(name: str, given: Stop | Trail | None) -> None:
    if given is None:
        return
    said = [key for key in ("price", "pct", "atr") if getattr(given, key, None) is not None]
    said += ["distances"] if getattr(given, "distances", False) else []
    if len(said) != 1 or (said == ["atr"]) != (given.length is not None):
        raise OutOfBoundsError(name, given, allowed="one way of saying it; atr together with length")
    for key in ("price", "pct", "atr"):
        if key in said:
            _check_bounds(f"{name}.{key}", getattr(given, key), above=0.0)


def known(what: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise UnknownNameError(what, name, known=names)


def _check_bounds(
    name: str,
    value: float,
    *,
    least: float = -np.inf,
    above: float = -np.inf,
    below: float = np.inf,
) -> None:
    if not (least <= value < below and value > above):
        limits = [f"above {above:g}"] * (above > -np.inf) + [f"at least {least:g}"] * (least > -np.inf)
        allowed = " and ".join([*limits, "finite" if below == np.inf else f"below {below:g}"])
        raise OutOfBoundsError(name, value, allowed=allowed)


def _check_shapes(market: Market, decisions: Decisions, n_instruments: int) -> None:
    grid = (len(market.ts), n_instruments)
    grids = {name: getattr(market, name) for name in (*_GRIDS, *_MARKS)}
    grids |= dict(zip(decisions._fields[:6], decisions[:6], strict=True))
    grids |= {name: getattr(decisions, name) for name in _COLUMNS}
    times = {name: getattr(market, name) for name in ("ts", "known_at", "sessions", "session_ends", "slots")}
    grids, times = ({name: array for name, array in these.items() if array is not None} for these in (grids, times))
    if any(array.shape != grid[:1] for array in times.values()) or any(array.shape != grid for array in grids.values()):
        shapes = {name: array.shape for name, array in (times | grids).items()}
        raise UnalignedError(instruments=(n_instruments,), **shapes)


def _check_targets(decisions: Decisions) -> None:
    given = {name: getattr(decisions, name) for name in ("targets", "weights") if getattr(decisions, name) is not None}
    if len(given) > 1:
        raise OutOfBoundsError("weights", "given beside targets", allowed="one of the two")
    for name, wanted in given.items():
        if np.isinf(wanted).any():
            raise OutOfBoundsError(name, float("inf"), allowed="finite, or NaN where nothing new is wanted")


def _check_times(market: Market, *, first_fee_us: int | None) -> None:
    ts, known_at = market.ts, market.known_at
    too_early = np.zeros(len(ts), dtype=bool) if first_fee_us is None else known_at < first_fee_us
    for wrong, seen, allowed in (
        (known_at <= ts, "known at or before its open", "a bar is known at its close"),
        (
            np.append(ts[1:] < known_at[:-1], False),
            "known after the next bar opens",
            "the next open may act on it",
        ),
        (
            np.append(ts[1:] <= ts[:-1], False),
            "does not come before the next one",
            "times ascend",
        ),
        (too_early, "earlier than the fee schedule", "every order has a fee"),
    ):
        if wrong.any():
            raise UnusableBarError(
                int(wrong.argmax()),
                seen=seen,
                allowed=allowed,
                remedy="mend ts, known_at or the schedule",
            )


def _check_bars(market: Market, decisions: Decisions) -> None:
    prices = np.stack([market.opens, market.highs, market.lows, market.closes])
    absent = np.isnan(prices).all(axis=0)
    acted = (market.splits != 1) | (market.dividends != 0)
    decided = np.logical_or.reduce(decisions[:4])
    for wrong, seen, allowed in (
        (
            ~absent & ~_possible(prices),
            "impossible prices",
            "0 < low <= open, close <= high < inf, or all four NaN",
        ),
        (
            ~((market.splits > 0) & (market.splits < np.inf)),
            "impossible split",
            "above 0 and finite",
        ),
        (
            ~((market.dividends >= 0) & (market.dividends < np.inf)),
            "impossible dividend",
            "cash per unit is at least 0 and finite",
        ),
        (
            absent & acted,
            "a split or dividend without a bar",
            "it belongs to the first bar at or after the ex-date",
        ),
        (
            absent & decided,
            "a decision without a bar",
            "decisions are made on a bar's close",
        ),
        (_negative(market.volumes), "a negative volume", "at least 0, or NaN"),
        (
            _impossible_marks(market),
            "impossible mark prices",
            "0 < low <= open, close <= high < inf, or all four NaN",
        ),
    ):
        if wrong.any():
            bar, instrument = (int(k) for k in np.argwhere(wrong)[0])
            at = {
                name: float(row[bar, instrument])
                for name, row in zip(("open", "high", "low", "close"), prices, strict=True)
            }
            raise UnusableBarError(
                bar,
                seen=f"{seen} of instrument {instrument} ({at})",
                allowed=allowed,
                remedy="mend this row",
            )


def _possible(prices: NDArray[np.float64]) -> NDArray[np.bool_]:
    opens, highs, lows, closes = prices
    possible = (prices > 0).all(axis=0) & (prices < np.inf).all(axis=0) & (lows <= np.minimum(opens, closes))
    return np.asarray(possible & (highs >= np.maximum(opens, closes)))


def _negative(volumes: Any) -> NDArray[np.bool_]:
    return np.zeros(1, dtype=bool) if volumes is None else np.asarray(volumes < 0)


def _impossible_marks(market: Market) -> NDArray[np.bool_]:
    given = [getattr(market, name) for name in _MARKS]
    if any(marks is None for marks in given):
        return np.zeros(1, dtype=bool)
    prices = np.stack(given)
    return np.asarray(~np.isnan(prices).all(axis=0) & ~_possible(prices))


def _check_listed(decisions: Decisions, n_bars: int, n_instruments: int) -> None:
    before = 0
    for number, decision in enumerate(decisions.listed):
        where = f"decisions[{number}]"
        if not before <= decision.bar < n_bars:
            raise OutOfBoundsError(
                f"{where}.bar",
                decision.bar,
                allowed=f"from {before} to {n_bars - 1}, in order",
            )
        if not 0 <= decision.instrument < n_instruments:
            raise OutOfBoundsError(
                f"{where}.instrument",
                decision.instrument,
                allowed=f"below {n_instruments}",
            )
        before = decision.bar
