"""The proof that a strategy does not look ahead: laws that are run, and the certificate they give.

`prefix_law` finds the far future. At each of the last bars the data are cut as they stood on that
bar's close (of every timeframe, what was known by then) and decided on again; every decision up to
there must equal that of the run which had the rest. Both runs start on the same bar, so they
compute the same sums in the same order and are compared exactly: no tolerance for a cheat to hide
in, and no false alarm from rounding. That lets the history before the first cut be shortened to
the strategy's warm-up: a decision on the shorter series is as much bound by the law as one on the
whole, and costs less.

`next_bar_law` finds the near future, which cutting data cannot show: a kernel that fills on the
bar of the decision gives the same result on cut data. Decisions are changed from a bar on, in each
direction there is, and everything up to and including that bar must stay as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

LawName = Literal["prefix", "next_bar"]
Decide = Callable[[Mapping[str, pl.DataFrame]], pl.DataFrame]
Simulate = Callable[[Mapping[str, NDArray[np.bool_]]], Mapping[str, NDArray[Any]]]

PREFIX_BARS = 500
NEXT_BARS = 20


class Law(BaseModel):
    """One law as it was found; `first_bar` counts the bars of the series from 0, null where the law held."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    law: LawName
    passed: bool
    first_bar: int | None
    column: str | None
    detail: str


class Certificate(BaseModel):
    """What was proved of one strategy version, on how many bars, with which code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str
    certified: bool
    laws: tuple[Law, ...]
    bars_checked: int
    code: str


def prefix_law(
    decide: Decide,
    frames: Mapping[str, pl.DataFrame],
    *,
    timeframe: str,
    n_bars: int = PREFIX_BARS,
    history: int | None = None,
) -> Law:
    """Decide again on data cut at every one of the last `n_bars` bars, and compare with the run that was not cut.

    Args:
        decide: from bar frames to a frame with one row per bar of `timeframe`: `ts` and the decisions.
        frames: one instrument's bar frames by timeframe, sorted, each with `known_at`.
        timeframe: that of the decisions.
        n_bars: how many bars to cut at; all where the series is shorter.
        history: bars kept before the first cut; all by default. At least the strategy's warm-up, or it never decides.

    Returns:
        The first cut that differs, by the bar and the column that came out differently. An empty series proves nothing.
    """
    bars = frames[timeframe]
    if bars.is_empty():
        return _broken("prefix", "there is no bar to check")
    dropped = 0 if history is None else max(0, bars.height - n_bars - history)
    held = {**frames, timeframe: bars.slice(dropped)}
    known = {name: frame.get_column("known_at").to_physical().to_numpy() for name, frame in held.items()}
    whole = decide(held)
    last = known[timeframe].size
    if whole.height != last:
        return _broken("prefix", f"the run gives {whole.height} rows for {last} bars, must be one for each")
    for n_known in range(max(1, last - n_bars + 1), last + 1):
        now = known[timeframe][n_known - 1]
        cut = {name: frame.head(int(known[name].searchsorted(now, side="right"))) for name, frame in held.items()}
        cut[timeframe] = held[timeframe].head(n_known)
        decided = decide(cut)
        expected = whole.head(n_known)
        if not decided.equals(expected):
            return _differing(decided, expected, dropped=dropped, cut_at=bars["ts"][dropped + n_known - 1])
    return _held("prefix", f"decisions on data cut at each of the last {min(n_bars, last)} bars equal the whole run's")


def next_bar_law(simulate: Simulate, decisions: Mapping[str, NDArray[np.bool_]], *, n_bars: int = NEXT_BARS) -> Law:
    """Change what is decided from a bar on, and see that nothing up to and including that bar moves.

    Args:
        simulate: from decisions to what is to be compared, arrays by name; as `decisions`, bars first.
        decisions: what is decided on each bar's close, by name; from the bar on each in turn is made always true and the
            others never, so that whatever is held there is one decision that would move it.
        n_bars: how many bars, evenly spread over the series, to do that at.

    Returns:
        The first change that reached back, by the bar and the array it reached. An empty series proves nothing.
    """
    length = min((len(values) for values in decisions.values()), default=0)
    if length == 0:
        return _broken("next_bar", "there is no bar to check")
    before = simulate(decisions)
    changed_at = np.unique(np.linspace(0, length - 1, min(length, n_bars)).astype(int)).tolist()
    for bar in changed_at:
        for name in decisions:
            after = simulate({other: _from(values, bar, always=other == name) for other, values in decisions.items()})
            for column, values in before.items():
                moved = _moved(values[: bar + 1], after[column][: bar + 1])
                if moved is not None:
                    detail = f"{name} decided on the close of bar {bar} and later moves {column} on bar {moved}"
                    return _broken("next_bar", detail, first_bar=moved, column=column)
    return _held("next_bar", f"decisions changed from each of {len(changed_at)} bars on move nothing up to that bar")


def certificate(strategy: str, laws: Mapping[str, Sequence[Law]], *, bars_checked: int, code: str) -> Certificate:
    """Gather the laws of several instruments: one entry per law, the first failure with its instrument.

    Args:
        strategy: `name@version`.
        laws: what was found, by instrument.
        bars_checked: cuts made by the prefix law, over all instruments.
        code: hash of what was proved.

    Returns:
        Certified where every law was run on every instrument and held; none run is none held.
    """
    gathered = tuple(_gathered(name, laws) for name in get_args(LawName))
    return Certificate(
        strategy=strategy,
        certified=bars_checked > 0 and all(law.passed for law in gathered),
        laws=gathered,
        bars_checked=bars_checked,
        code=code,
    )


def _gathered(name: LawName, laws: Mapping[str, Sequence[Law]]) -> Law:
    n_held = 0
    for instrument, found in laws.items():
        of_this_law = [law for law in found if law.law == name]
        failed = [law for law in of_this_law if not law.passed]
        if failed:
            return failed[0].model_copy(update={"detail": f"{instrument}: {failed[0].detail}"})
        if not of_this_law:
            return _broken(name, f"{instrument}: not run")
        n_held += 1
    return _held(name, f"held on {n_held} instruments") if n_held else _broken(name, "run on no instrument")


def _held(law: LawName, detail: str) -> Law:
    return Law(law=law, passed=True, first_bar=None, column=None, detail=detail)


def _broken(law: LawName, detail: str, *, first_bar: int | None = None, column: str | None = None) -> Law:
    return Law(law=law, passed=False, first_bar=first_bar, column=column, detail=detail)


def _differing(decided: pl.DataFrame, expected: pl.DataFrame, *, dropped: int, cut_at: object) -> Law:
    if decided.height != expected.height or decided.schema != expected.schema:
        seen, allowed = (f"{table.height} rows of {', '.join(table.columns)}" for table in (decided, expected))
        detail = f"cut at {cut_at} there are {seen}, must be {allowed} as in the whole run"
        return _broken("prefix", detail, first_bar=dropped + min(decided.height, expected.height))
    differs = {
        column: int(positions[0])
        for column in expected.columns
        if len(positions := decided[column].ne_missing(expected[column]).arg_true())
    }
    column = min(differs, key=lambda name: differs[name])
    row = differs[column]
    detail = (
        f"cut at {cut_at} the bar of {expected['ts'][row]} has {column} {decided[column][row]}, "
        f"with later data {expected[column][row]}"
    )
    return _broken("prefix", detail, first_bar=dropped + row, column=column)


def _from(values: NDArray[np.bool_], bar: int, *, always: bool) -> NDArray[np.bool_]:
    changed = values.copy()
    changed[bar:] = always
    return changed


def _moved(before: NDArray[Any], after: NDArray[Any]) -> int | None:
    same = (before == after) | ((before != before) & (after != after))  # noqa: PLR0124, NaN equals NaN here
    rows = np.flatnonzero(~same.reshape(same.shape[0], -1).all(axis=1))
    return int(rows[0]) if rows.size else None
