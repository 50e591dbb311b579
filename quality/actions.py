"""Corporate actions: what sources state, folded into what is believed.

A statement is what one source says of one instrument, of some days or of all time. It is kept as
received; a newer one restates it. What is believed is folded from all statements, in this order:

1. of each source, a newer statement takes the place of all it said before of the days it speaks for;
2. a row that cannot be used is set aside with every reason: the rules below;
3. of one source and ex-date, dividends are added up (a regular and a special one), the same twice
   counts once, and two different splits are both set aside;
4. two sources that state the same action are one, the newer statement's. The same is: of one kind
   and ex-date, or of one kind, within 1 % and at most four days apart, because a split that is
   booked twice does more harm than one whose day is disputed.

Factor files state the same in another way, as the share of a price that is left after all that came
later. A row holds up to and including its date, so what sets it apart from the next row happened at
the session after that date:

    split    = next split factor / split factor
    dividend = close / split * (1 - price factor / next price factor)

with the row's reference close, the last one before the ex-date. The dividend is in units after that
day's split, as `engine.bars.forward_adjusted` takes it.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

import polars as pl

from quality.datasets import Instrument

KINDS = ("split", "dividend")
SAME_WITHIN = 0.01  # of the value, and
SAME_DAYS = timedelta(days=4)  # a day off in a source, over a weekend
NOISE = 1e-12  # relative, as for bars
ACTION = pl.Schema({"ex_date": pl.Date(), "kind": pl.String(), "value": pl.Float64()})

_FACTOR_DIGITS = 7  # decimals that factors are written with
_SPLIT_NOISE = 1e-5  # relative: what those leave of a ratio
_LARGEST_SPLIT = 100  # new units for one old one, or old ones for one new, that is still looked for as a fraction

ROW_RULES: dict[str, pl.Expr] = {
    "no_ex_date": pl.col("ex_date").is_null(),
    "unknown_kind": ~pl.col("kind").is_in(KINDS),
    "unusable_value": ~(pl.col("value").is_finite() & (pl.col("value") > 0)),
    "outside_listing": (pl.col("ex_date") <= pl.col("listed")) | (pl.col("ex_date") > pl.col("delisted")),
}
CONFLICTING_SPLIT = "conflicting_split"
STATED_OTHERWISE = "stated_otherwise"


class Folded(NamedTuple):
    """What is believed, and what of the standing statements is not."""

    actions: pl.DataFrame  # instrument ex_date kind value: one row each, sorted
    set_aside: pl.DataFrame  # instrument source sequence line ex_date kind value reasons


def fold(statements: pl.DataFrame, instruments: Iterable[Instrument]) -> Folded:
    """The actions that all statements together amount to.

    Args:
        statements: rows of the table `raw_actions`, of one data set; values may be null or NaN, which sets a row aside.
        instruments: whose actions are wanted; an action must lie after `listed` and not after `delisted`.
    """
    listings = pl.DataFrame(
        [(one.id, one.listed, one.delisted) for one in instruments],
        {"instrument": pl.String, "listed": pl.Date, "delisted": pl.Date},
        orient="row",
    )
    standing = _standing(statements).join(listings, on="instrument", how="inner")
    broken = [pl.when(rule.fill_null(value=True)).then(pl.lit(name)) for name, rule in _rules().items()]
    judged = standing.with_columns(reasons=pl.concat_list(broken).list.drop_nulls())
    conflicting = (pl.col("kind") == "split") & (pl.col("value").n_unique().over(_SAME_DAY) > 1)
    usable = judged.filter(pl.col("reasons").list.len() == 0)
    split_twice = usable.filter(conflicting).with_columns(reasons=pl.lit([CONFLICTING_SPLIT]))
    kept, otherwise = _between_sources(_added_up(usable.filter(~conflicting)))
    unusable = judged.filter(pl.col("reasons").list.len() > 0)
    aside = pl.concat([unusable.select(_ASIDE), split_twice.select(_ASIDE), otherwise.select(_ASIDE)])
    return Folded(
        actions=kept.select("instrument", *ACTION).sort("instrument", "ex_date", "kind"),
        set_aside=aside.sort("instrument", "sequence", "line"),
    )


def restated(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """What changed between two folds: `instrument ex_date kind old new`, null where it is not there, sorted."""
    key = ["instrument", "ex_date", "kind"]
    both = before.select(*key, old="value").join(
        after.select(*key, new="value"), on=key, how="full", coalesce=True, nulls_equal=True
    )
    same = (pl.col("old") - pl.col("new")).abs() <= NOISE * pl.col("old").abs()
    return both.filter(~same.fill_null(value=False)).sort(key)


def from_factors(factors: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """The splits and dividends behind a factor file: `ex_date kind value`, sorted by ex-date.

    Args:
        factors: `date price split close`, ascending by date: until when the row holds, its price factor, its split
            factor, the raw close of that date (null where the file has none: then its dividend is null).
        sessions: of the venue, ascending, from before the first row on; rows before the first of them are left out, as
            their ex-date cannot be told.

    A split within 1e-5 of a ratio of whole numbers up to 100 is that ratio; a dividend is rounded to the digits that the
    factors' seven decimals fix.
    """
    changes = (
        factors.sort("date")
        .with_columns(split_after=pl.col("split").shift(-1), price_after=pl.col("price").shift(-1))
        .filter(pl.col("split_after").is_not_null(), pl.col("date") >= (sessions[0] if sessions else date.max))
    )
    found: list[tuple[date, str, float | None]] = []
    days = (
        pl.DataFrame({"ex_date": sessions}, {"ex_date": pl.Date}).with_columns(before=pl.col("ex_date")).sort("before")
    )
    changes = changes.join_asof(
        days, left_on="date", right_on="before", strategy="forward", allow_exact_matches=False, coalesce=False
    ).filter(pl.col("ex_date").is_not_null())
    for row in changes.iter_rows(named=True):
        ratio = _ratio(row["split_after"] / row["split"])
        if ratio != 1:
            found.append((row["ex_date"], "split", ratio))
        if row["price_after"] != row["price"]:
            found.append((row["ex_date"], "dividend", _dividend(row, ratio)))
    return pl.DataFrame(found, ACTION, orient="row").sort("ex_date", "kind")


_SAME_DAY = ["instrument", "source", "ex_date", "kind"]
_ASIDE = ["instrument", "source", "sequence", "line", *ACTION, "reasons"]


def _rules() -> dict[str, pl.Expr]:
    """An unknown listing bounds nothing; any other null breaks the rule that meets it."""
    bounded = ROW_RULES["outside_listing"].fill_null(value=False)
    return {**ROW_RULES, "outside_listing": bounded}


def _standing(statements: pl.DataFrame) -> pl.DataFrame:
    """Rows about days of which their source has said nothing newer."""
    newer = statements.select("source", "instrument", newer="sequence", newer_first="first", newer_last="last").unique()
    covered = pl.col("ex_date").is_null() | (pl.col("ex_date") >= pl.col("newer_first")).fill_null(value=True) & (
        pl.col("ex_date") <= pl.col("newer_last")
    ).fill_null(value=True)
    replaced = (
        statements.join(newer, on=["source", "instrument"])
        .filter(pl.col("newer") > pl.col("sequence"), covered)
        .select("sequence", "line")
        .unique()
    )
    stated = statements.filter(pl.any_horizontal(pl.col(column).is_not_null() for column in ACTION))
    return stated.join(replaced, on=["sequence", "line"], how="anti")


def _added_up(usable: pl.DataFrame) -> pl.DataFrame:
    """One row for each source, ex-date and kind."""
    return (
        usable.unique([*_SAME_DAY, "value"], keep="first", maintain_order=True)
        .group_by(_SAME_DAY, maintain_order=True)
        .agg(pl.col("value").sum(), pl.col("sequence").max(), pl.col("line").min())
    )


def _between_sources(actions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Those that are believed, and those of which a newer statement of another source says something else."""
    several = pl.col("source").n_unique().over("instrument") > 1
    believed, otherwise = [actions.filter(~several)], [actions.clear()]
    for _, stated in actions.filter(several).group_by("instrument", "kind", maintain_order=True):
        rows = stated.sort("sequence", "line", descending=[True, False]).to_dicts()
        kept: list[dict[str, Any]] = []
        doubted: list[dict[str, Any]] = []
        for row in rows:
            twin = next((one for one in kept if one["source"] != row["source"] and _is_same(one, row)), None)
            if twin is None:
                kept.append(row)
            elif (twin["ex_date"], twin["value"]) != (row["ex_date"], row["value"]):
                doubted.append(row)
        believed.append(pl.DataFrame(kept, actions.schema))
        otherwise.append(pl.DataFrame(doubted, actions.schema))
    return pl.concat(believed), pl.concat(otherwise).with_columns(reasons=pl.lit([STATED_OTHERWISE]))


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one["ex_date"] == other["ex_date"]:
        return True
    near = abs(one["ex_date"] - other["ex_date"]) <= SAME_DAYS
    apart = abs(one["value"] - other["value"]) > SAME_WITHIN * max(one["value"], other["value"])
    return near and not apart


def _ratio(raw: float) -> float:
    near = Fraction(raw).limit_denominator(_LARGEST_SPLIT)
    return float(near) if near and abs(raw - near) <= _SPLIT_NOISE * raw else raw


def _dividend(row: dict[str, Any], ratio: float) -> float | None:
    """Rounded to where two factors, each off by half a last digit, cannot reach."""
    if row["close"] is None:
        return None
    value = row["close"] / ratio * (1 - row["price"] / row["price_after"])
    noise = row["close"] / ratio * 2 * 10**-_FACTOR_DIGITS / row["price_after"]
    digits = 0
    while 10 ** -(digits + 1) >= noise:
        digits += 1
    return float(round(value, digits))
