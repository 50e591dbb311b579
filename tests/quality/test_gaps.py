"""Gaps: every missing bar once, of one kind, as a slow twin counts them bar by bar."""

from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import COLUMNS
from quality import tables
from quality.datasets import Instrument
from quality.gaps import of_instrument, with_outages
from tests.makers import DAY, START, due_bars
from tests.sample_packing import SHARED

N_SESSIONS, N_EACH = 3, 4
STEP = timedelta(hours=6)
DUE = due_bars(N_SESSIONS * N_EACH, start=START, step=STEP)
TS = DUE["ts"].to_list()
COLUMNS_OF_A_GAP = ("instrument", "session", "first", "last", "n_bars", "kind")
PRESENT, REFUSED, FILLED, ABSENT = "prf."


def instrument(name: str, **listing: date | None) -> Instrument:
    terms = {"quote": "USD", "settle": "USD", "tick": 0.1, "lot": 1, "min_notional": 0, "tier": "core"}
    return Instrument.model_validate({"id": f"{name}.TEST", "symbol": name, **terms, **listing})


def at(stamps: list[datetime | None]) -> pl.DataFrame:
    return pl.DataFrame({"ts": stamps}, {"ts": tables.TS})


def gaps_of(*fates: str, listings: tuple[tuple[int, int], ...] = ()) -> list[tuple[object, ...]]:
    """What is found where each instrument's due bars had the fates that its text spells, a letter each."""
    listings = listings or ((0, N_SESSIONS - 1),) * len(fates)
    days = DUE["session"].unique().sort().to_list()
    instruments, parts = [], []
    for number, (fate, (first, last)) in enumerate(zip(fates, listings, strict=True)):
        instruments.append(instrument(f"I{number}", listed=days[first], delisted=days[last]))
        own = DUE.filter(pl.col("session").is_between(days[first], days[last]))
        of = {letter: [ts for ts in own["ts"] if fate[TS.index(ts)] == letter] for letter in "prf."}
        found = of_instrument(own, at(of[PRESENT]), at([None, TS[0] - DAY, *of[REFUSED], TS[-1] + DAY]), at(of[FILLED]))
        parts.append(found.with_columns(instrument=pl.lit(instruments[-1].id)))
    return with_outages(pl.concat(parts), DUE, instruments).select(COLUMNS_OF_A_GAP).rows()


def slowly(*fates: str, listings: tuple[tuple[int, int], ...]) -> list[tuple[object, ...]]:
    told = []
    for number, (fate, (first, last)) in enumerate(zip(fates, listings, strict=True)):

        def kind(place: int, fate: str = fate, own: tuple[int, int] = (first, last)) -> str | None:
            session = place // N_EACH
            if not own[0] <= session <= own[1] or fate[place] == PRESENT:
                return None
            if fate[place] == REFUSED:
                return "refused"
            due = [other[place] for other, (a, b) in zip(fates, listings, strict=True) if a <= session <= b]
            if len(due) > 1 and set(due) <= {FILLED, ABSENT}:
                return "outage"
            return "no_trade" if fate[place] == FILLED else "unknown"

        for (session, found), places in groupby(range(len(TS)), key=lambda place: (place // N_EACH, kind(place))):
            if found is not None:
                run = list(places)
                day = (START + session * DAY).date()
                told.append((f"I{number}.TEST", day, TS[run[0]], TS[run[-1]], len(run), found))
    return told


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[list[str], tuple[tuple[int, int], ...]]:
    n = draw(st.integers(1, 4))
    fates = draw(st.lists(st.text("prf...", min_size=len(TS), max_size=len(TS)), min_size=n, max_size=n))
    spans = st.tuples(st.integers(0, N_SESSIONS - 1), st.integers(0, N_SESSIONS - 1)).map(sorted).map(tuple)
    return fates, tuple(draw(st.lists(spans, min_size=n, max_size=n)))


@given(data_sets())
def test_gaps_are_those_of_the_slow_twin(drawn: tuple[list[str], tuple[tuple[int, int], ...]]) -> None:
    fates, listings = drawn
    assert gaps_of(*fates, listings=listings) == slowly(*fates, listings=listings)


@pytest.mark.parametrize(
    ("fates", "kinds"),
    [
        pytest.param(["pppppppppppp"], [], id="nothing is missing"),
        pytest.param(["p..ppppppppp"], [("I0", 2, "unknown")], id="nobody knows why"),
        pytest.param(["prrppppppppp"], [("I0", 2, "refused")], id="rows came and were refused"),
        pytest.param(["pffppppppppp"], [("I0", 2, "no_trade")], id="nothing traded, and the SLA fills that"),
        pytest.param(["ppp..ppppppp"], [("I0", 1, "unknown"), ("I0", 1, "unknown")], id="a gap ends with its session"),
    ],
)
def test_a_gap_is_a_run_of_missing_bars_of_one_kind(fates: list[str], kinds: list[tuple[str, int, str]]) -> None:
    assert [(row[0].split(".")[0], row[4], row[5]) for row in gaps_of(*fates)] == kinds  # type: ignore[attr-defined]


def test_an_outage_begins_where_the_last_instrument_falls_silent() -> None:
    found = [(row[0], row[2], row[4], row[5]) for row in gaps_of("p...pppppppp", "pp..pppppppp")]
    assert found == [
        ("I0.TEST", TS[1], 1, "unknown"),
        ("I0.TEST", TS[2], 2, "outage"),
        ("I1.TEST", TS[2], 2, "outage"),
    ]


def test_rows_that_were_refused_show_that_somebody_was_listening() -> None:
    assert [row[5] for row in gaps_of("p..ppppppppp", "prrppppppppp")] == ["unknown", "refused"]


def test_one_instrument_alone_is_no_outage() -> None:
    alone = ((0, 2), (1, 2))
    assert [row[5] for row in gaps_of("..pppppppppp", "pppppppppppp", listings=alone)] == ["unknown"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout")
def test_trap_30_an_outage_of_the_collector_is_told_from_what_did_not_trade() -> None:
    names = ("ADA-BTC", "CURE-BTC", "NEO-BTC")
    begin = datetime(2018, 3, 5, tzinfo=UTC)
    due = due_bars(288, start=begin)
    parts = []
    for name in names:
        rows = pl.read_parquet(SHARED / "crypto/bittrex_5m" / f"{name}.parquet").select(
            pl.col("ts").cast(tables.TS), *COLUMNS
        )
        bars = rows.filter(pl.col("ts").dt.date() == begin.date()).unique("ts").sort("ts")
        own = pl.lit(f"{name}.TEST").alias("instrument")
        parts.append(of_instrument(due, bars, rows.clear()).with_columns(own))
    found = with_outages(pl.concat(parts), due, [instrument(name) for name in names])
    stopped = found.filter(kind="outage").select("instrument", "first", "last", "n_bars").rows()
    at_last, end = begin + timedelta(hours=5, minutes=40), begin + timedelta(hours=23, minutes=55)
    assert stopped == [(f"{name}.TEST", at_last, end, 220) for name in names]
    assert found.filter(kind="unknown").group_by("instrument").agg(pl.col("n_bars").sum()).sort(
        "instrument"
    ).rows() == [
        ("ADA-BTC.TEST", 5),
        ("CURE-BTC.TEST", 61),
    ]
