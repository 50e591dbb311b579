"""The laws of what is decided about a session before it: who may be traded, and who is embargoed.

Both are proved by changing what was known of a session and of all later ones: its row may not move.
As everywhere, the two runs that are compared begin with the same session.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from quality.lookahead.laws import Law, broken, held

CHOSEN_SESSIONS = 12  # of each instrument and universe
_MONTH = 31
_AFTER = 5

Choose = Callable[[pl.DataFrame], pl.DataFrame]


class Chosen(NamedTuple):
    """How one universe chooses one instrument: from one row a session to one row a session, and by how many of them."""

    choose: Choose
    known: pl.DataFrame  # `session high low close volume factor due seen`, as `engine.universe.measures` takes them
    window_sessions: int


def universe(chosen: Mapping[str, Chosen]) -> Law:
    """Change a session and all later ones, and see that whoever was a member in it still is, for the same reasons.

    Done where members are chosen anew and at other sessions, evenly spread, of every instrument and universe by name.
    """
    if not chosen:
        return held("universe", "nothing is chosen by a universe")
    n_changed = 0
    for name, one in chosen.items():
        rows = one.choose(one.known)
        for session in _sessions(rows):
            begin = max(0, session - one.window_sessions - _MONTH)
            part, here = one.known.slice(begin, session - begin + _AFTER), session - begin
            expected = one.choose(part).row(here)
            for changed in (part.head(here).vstack(_otherwise(part.slice(here))), part.head(here + 1)):
                n_changed += 1
                decided = one.choose(changed)
                if decided.row(here) != expected:
                    at = next(n for n, value in enumerate(expected) if decided.row(here)[n] != value)
                    column, day = decided.columns[at], rows["session"][session]
                    detail = (
                        f"{name}: {column} of {day} is {decided[column][here]} when {day} itself is other than it was"
                    )
                    return broken("universe", f"{detail}, else {expected[at]}", first_bar=session, column=column)
    return held("universe", f"{n_changed} changes of a session and those after it move no row up to it")


def embargo(embargoed: Choose, record: pl.DataFrame) -> Law:
    """Turn the verdicts of a session round, and see that who is embargoed in it stays so; at every session.

    Args:
        embargoed: from the record of verdicts to `session instrument embargoed`; each instrument on its own.
        record: `session instrument enforced passed` and more.

    Each session is tried on a record of three sessions of its own that ends with it, as of another instrument, so all
    are tried in one run.
    """
    if record.is_empty():
        return held("embargo", "no session was judged")
    ranked = record.with_columns(rank=pl.col("session").rank("dense").over("instrument").cast(pl.Int64))
    tried = pl.concat(
        ranked.with_columns(tried=pl.col("rank") + after, turned=pl.lit(after == 0)) for after in (2, 1, 0)
    )
    tried = tried.join(ranked.select("instrument", tried="rank").unique(), on=["instrument", "tried"], how="semi")
    stacked = tried.with_columns(
        instrument=pl.concat_str("instrument", pl.lit("/"), "tried"),
        passed=pl.col("passed") != pl.col("turned"),
        enforced=pl.col("enforced") | pl.col("turned"),
    )
    own = (
        tried.filter("turned")
        .select("session", was="instrument")
        .with_columns(instrument=pl.concat_str("was", pl.lit("/"), tried.filter("turned")["tried"]))
    )
    found = embargoed(stacked.drop("rank", "tried", "turned")).join(own.unique(), on=["session", "instrument"])
    expected = embargoed(record).rename({"instrument": "was", "embargoed": "expected"})
    moved = found.join(expected, on=["session", "was"], how="full", coalesce=True).filter(
        pl.col("embargoed").ne_missing(pl.col("expected"))
    )
    if moved.is_empty():
        return held("embargo", f"{found.height} sessions with their own verdicts turned round are embargoed as before")
    first = moved.sort("session", "was").row(0, named=True)
    session = int((record["session"].unique().sort() < first["session"]).sum())
    detail = (
        f"{first['was']}: {first['session']} is embargoed: {first['embargoed']} when its own verdicts are turned round"
    )
    return broken("embargo", f"{detail}, else {first['expected']}", first_bar=session, column="embargoed")


def _sessions(rows: pl.DataFrame) -> list[int]:
    """Where members are chosen anew, and others."""
    anew = rows["measured_on"].ne_missing(rows["measured_on"].shift(1)).arg_true().to_numpy()
    half = CHOSEN_SESSIONS // 2
    picked = [part[np.unique(np.linspace(0, part.size - 1, min(half, part.size)).astype(np.int64))]
              for part in (anew, np.arange(rows.height)) if part.size]  # fmt: skip
    return np.unique(np.concatenate(picked)).tolist() if picked else []


def _otherwise(rows: pl.DataFrame) -> pl.DataFrame:
    """Another price, other trading, and nothing of what was due."""
    return rows.with_columns(
        *(pl.col(name).fill_null(10.0) * 7 for name in ("high", "low", "close")),
        volume=pl.col("volume").fill_null(1.0) * 1_000_000,
        seen=pl.lit(0).cast(rows.schema["seen"]),
    )
