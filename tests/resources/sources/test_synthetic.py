"""Made bars: a source like any other, the same from the same seed, and spoilt in just the way that was asked for."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given as forall
from hypothesis import settings as checked
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quality import datasets
from resources.calendars import open_calendar
from resources.sources.synthetic_source import SyntheticSource
from tests.resources.sources.suite import Facts, Opened, SourceSuite, named, received, rows_of

ONE, OTHER = named("ONE.TEST", "one"), named("OTHER.TEST", "other")
FIRST, LAST = date(2024, 3, 1), date(2024, 3, 31)
LATER = datetime(2024, 6, 1, tzinfo=UTC)
PRICES = ("open", "high", "low", "close")


def made(*, calendar: str = "24/7", timeframe: str = "5m", at: datetime = LATER, seed: int = 7, **defects: float):
    settings = datasets.SyntheticSource(kind="synthetic", seed=seed, defects=datasets.Defects(**defects))
    return SyntheticSource(
        settings, calendar=open_calendar(calendar), timeframe=timeframe, start=date(2024, 1, 1), clock=lambda: at
    )


def bars(*, instrument=ONE, first: date = FIRST, last: date = LAST, **changes) -> pl.DataFrame:
    return rows_of(received(made(**changes), instrument, first=first, last=last))


class TestRoundTheClock(SourceSuite):
    @pytest.fixture
    def opened(self) -> Opened:
        return made

    @pytest.fixture
    def facts(self) -> Facts:
        return Facts(
            instruments=(ONE, OTHER),
            first=FIRST,
            last=LAST,
            n_rows=31 * 288,
            never=None,
            n_actions=0,
            knows_its_instruments=False,
            midway=datetime(2024, 3, 20, 12, tzinfo=UTC),
            running=date(2024, 3, 20),
        )


class TestAnExchange(SourceSuite):
    @pytest.fixture
    def opened(self) -> Opened:
        return lambda **changes: made(calendar="XNYS", **changes)

    @pytest.fixture
    def facts(self) -> Facts:
        return Facts(
            instruments=(ONE, OTHER),
            first=FIRST,
            last=LAST,
            n_rows=20 * 78,  # Good Friday was the 29th
            never=date(2024, 3, 29),
            n_actions=0,
            knows_its_instruments=False,
            midway=datetime(2024, 3, 20, 17, tzinfo=UTC),
            running=date(2024, 3, 20),
        )


@forall(st.dates(date(2015, 1, 1), date(2024, 5, 1)), st.integers(0, 40), st.integers(0, 40))
@checked(max_examples=50)
@pytest.mark.slow
def test_any_span_is_a_part_of_any_longer_one(first: date, n_before: int, n_days: int) -> None:
    last = first + timedelta(days=n_days)
    defects = {"missing": 0.05, "disorder": 0.05, "spike": 0.01, "unadjusted_split": 0.01}
    longer = bars(first=first - timedelta(days=n_before), last=last, timeframe="1h", **defects).drop("line")
    alone = bars(first=first, last=last, timeframe="1h", **defects).drop("line")
    assert_frame_equal(longer.filter(pl.col("ts").dt.date() >= first), alone, check_exact=True)


@pytest.mark.parametrize(("calendar", "timeframe"), [("24/7", "1m"), ("XNYS", "5m"), ("XHKG", "30m"), ("XNYS", "1d")])
def test_every_bar_that_is_due_is_there_and_sound(calendar: str, timeframe: str) -> None:
    due = open_calendar(calendar).due(FIRST, LAST, timeframe)
    made = bars(calendar=calendar, timeframe=timeframe)
    assert made["ts"].to_list() == due["ts"].to_list()
    assert made.null_count().sum_horizontal().item() == 0
    assert (made["high"] >= made.select(pl.max_horizontal("open", "close")).to_series()).all()
    assert (made["low"] <= made.select(pl.min_horizontal("open", "close")).to_series()).all()
    assert (made["low"] > 0).all()


def test_around_the_clock_every_bar_opens_where_the_last_one_closed() -> None:
    made = bars()
    assert made["open"][1:].to_list() == pytest.approx(made["close"][:-1].to_list(), abs=2e-6)


@pytest.mark.slow
def test_days_move_as_much_as_they_are_meant_to() -> None:
    closes = bars(first=date(2000, 1, 1), last=date(2020, 12, 31), timeframe="1d")["close"]
    assert closes.log().diff().std() == pytest.approx(0.02, rel=0.03)


def test_instruments_and_seeds_walk_apart() -> None:
    walks = [bars()["close"], bars(instrument=OTHER)["close"], bars(seed=8)["close"]]
    moves = pl.DataFrame({str(n): walk.log().diff() for n, walk in enumerate(walks)}).drop_nulls()
    assert moves.corr().select(pl.all().abs().mean()).max_horizontal().item() < 0.4


BODY = pl.concat_list("open", "close")
BROKEN = {  # what a rule of `quality/bars.py` would say, in other words
    "null_price": pl.any_horizontal(pl.col(PRICES).is_null()),
    "non_positive_price": pl.any_horizontal(pl.col(PRICES) <= 0),
    "high_below_body": pl.col("high") < BODY.list.max(),
    "low_above_body": pl.col("low") > BODY.list.min(),
    "negative_volume": pl.col("volume") < 0,
    "off_grid": pl.col("ts").dt.epoch("s") % 300 != 0,
    "conflicting_duplicate": pl.col("ts").is_duplicated() & ~pl.struct("ts", *PRICES).is_duplicated(),
    "identical_duplicate": pl.struct("ts", *PRICES).is_duplicated(),
}


@pytest.mark.parametrize("defect", BROKEN)
def test_a_defect_breaks_what_it_is_named_after_in_the_share_asked_for_and_nothing_else(defect: str) -> None:
    rows = bars(**{defect: 0.05})
    broken = rows.select(**BROKEN).sum().row(0, named=True)
    twice = 2 if defect.endswith("duplicate") else 1
    assert broken.pop(defect) == pytest.approx(0.05 * twice * 31 * 288, rel=0.2)
    consequences = {"non_positive_price": {"low_above_body"}}
    assert {other for other, n in broken.items() if n} == consequences.get(defect, set())


@pytest.mark.parametrize("defects", [{}, {"missing": 0.1}, {"disorder": 0.1}, {"spike": 0.1}, {"stale_run": 0.001}])
def test_what_breaks_no_rule_breaks_none(defects: dict[str, float]) -> None:
    assert bars(**defects).select(**BROKEN).sum().sum_horizontal().item() == 0


@pytest.mark.parametrize("defect", ["null_price", "spike", "off_grid", "missing", "conflicting_duplicate", "disorder"])
def test_bars_that_are_not_hit_stay_what_they_are(defect: str) -> None:
    sound, spoilt = bars().drop("line"), bars(**{defect: 0.05}).drop("line")
    assert spoilt.join(sound, on=sound.columns, how="semi").height >= 0.9 * sound.height
    assert not spoilt.equals(sound)


def test_missing_bars_are_the_share_that_was_asked_for() -> None:
    assert bars(missing=0.25).height == pytest.approx(0.75 * 31 * 288, rel=0.05)


def test_a_duplicate_comes_right_after_the_row_it_repeats() -> None:
    rows = bars(identical_duplicate=0.1)
    twins = rows.filter(pl.col("ts").is_duplicated())
    assert twins.height > 100
    assert twins.gather_every(2).drop("line").equals(twins.gather_every(2, offset=1).drop("line"))


def test_disorder_sends_a_bar_after_its_follower() -> None:
    assert 0.02 < (bars(disorder=0.05)["ts"].diff().dt.total_seconds() < 0).mean() < 0.08


def test_a_stale_run_is_one_price_without_volume_to_the_end_of_its_session() -> None:
    rows = bars(stale_run=0.001).with_columns(session=pl.col("ts").dt.date())
    stale = rows.filter(pl.col("volume") == 0)
    assert stale.height > 100
    assert stale.select(pl.concat_list(PRICES).list.n_unique().max()).item() == 1
    ends = rows.group_by("session").agg(pl.col("volume").last())
    assert set(stale["session"]) == set(ends.filter(pl.col("volume") == 0)["session"])


def test_a_split_that_nobody_was_told_of_halves_all_that_follows() -> None:
    sound, split = (bars(timeframe="1d", unadjusted_split=share)["close"] for share in (0, 0.1))
    ratio = (split / sound).to_list()
    assert {round(2 ** -round(-pl.Series([one]).log(2).item()), 12) for one in ratio} == {
        round(one, 12) for one in ratio
    }
    assert ratio == sorted(ratio, reverse=True)
    assert len(set(ratio)) > 1


def test_what_is_late_comes_when_asked_for_again_later() -> None:
    at_once = bars(first=LAST, last=LAST, at=datetime(2024, 4, 1, 0, 5, tzinfo=UTC), late=0.2)
    later = bars(first=LAST, last=LAST, late=0.2)
    assert at_once.height < later.height == 288
    assert later.drop("line").join(at_once.drop("line"), on="ts", how="semi").equals(at_once.drop("line"))


def test_a_restatement_changes_closes_when_asked_for_again_later() -> None:
    at_once = bars(first=LAST, last=LAST, at=datetime(2024, 4, 1, 0, 5, tzinfo=UTC), restated=0.2)
    later = bars(first=LAST, last=LAST, restated=0.2)
    changed = (at_once["close"] != later["close"]).sum()
    assert 30 < changed < 90
    assert at_once.drop("close").equals(later.drop("close"))


def test_every_defect_does_something() -> None:
    sound = bars(timeframe="1h").drop("line")
    for defect in datasets.Defects.model_fields:
        at = datetime(2024, 4, 1, 0, 5, tzinfo=UTC) if defect == "late" else LATER
        assert not bars(timeframe="1h", at=at, **{defect: 0.3}).drop("line").equals(sound), defect
