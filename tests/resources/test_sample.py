"""The embedded sample: a source like any other, and exactly the data its README says it is."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from polars.testing import assert_frame_equal

from quality import sla
from quality.bars import judge
from quality.datasets import Instrument
from resources.calendars import open_calendar
from resources.errors import UnknownSampleError
from resources.project import load
from resources.sources.sample_source import SampleSource
from tests.makers import receipts_of
from tests.resources.sources.suite import Facts, Opened, SourceSuite, named, received
from tests.sample_packing import CRYPTO, CRYPTO_FIRST, CRYPTO_LAST, EMBEDDED, EQUITIES, SHARED, five_minute_bars, pack

CHECKOUT = Path(__file__).parents[2]

EQUITIES_LAST = date(2021, 3, 31)
needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout")


def _named(*instruments: str) -> tuple[Instrument, ...]:
    """Each of them once, in this order."""
    return tuple(named(instrument, instrument) for instrument in dict.fromkeys(instruments))


class TestCrypto(SourceSuite):
    @pytest.fixture
    def opened(self) -> Opened:
        return lambda: SampleSource("crypto_5m")

    @pytest.fixture
    def facts(self) -> Facts:
        return Facts(
            instruments=_named("XRPUSD.BITFINEX", *CRYPTO),
            offered=tuple(CRYPTO),
            first=CRYPTO_FIRST,
            last=CRYPTO_LAST,
            n_rows=50_628,
            never=date(2017, 12, 31),
            n_actions=0,
        )


class TestEquities(SourceSuite):
    @pytest.fixture
    def opened(self) -> Opened:
        return lambda: SampleSource("us_equities_1d")

    @pytest.fixture
    def facts(self) -> Facts:
        return Facts(
            instruments=_named("BAC.XNYS", *EQUITIES),
            offered=tuple(EQUITIES),
            first=date(1998, 1, 2),
            last=EQUITIES_LAST,
            n_rows=5_661,
            never=date(1998, 9, 30),
            n_actions=318,
        )


def _bars(dataset: str, instrument: str) -> pl.DataFrame:
    (of,) = _named(instrument)
    (delivery,) = received(SampleSource(dataset), of, first=date(1990, 1, 1), last=date(2030, 1, 1))
    return delivery.rows


def _completeness(bars: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    present = due.join(bars.select("ts", "close"), on="ts", how="left")
    return present.group_by("session", maintain_order=True).agg(share=pl.col("close").count() / pl.len())


@pytest.mark.parametrize(
    ("instrument", "n_bars", "n_sessions_kept"),
    [
        ("BTCUSD.BITFINEX", 52_694, 182),
        ("ETHUSD.BITFINEX", 52_692, 182),
        ("LTCUSD.BITFINEX", 52_620, 173),
        ("IOTUSD.BITFINEX", 52_219, 148),
        ("EOSUSD.BITFINEX", 51_772, 118),
        ("XRPUSD.BITFINEX", 50_628, 95),
    ],
)
def test_crypto_has_its_real_gaps(instrument: str, n_bars: int, n_sessions_kept: int) -> None:
    # From ../shared/data/README.md for 184 days (52,977 bars and 182 sessions for BTC, …), less the 283 of 2017-12-31.
    bars = _bars("crypto_5m", instrument)
    due = open_calendar("24/7").due(CRYPTO_FIRST, CRYPTO_LAST, "5m")
    sessions = _completeness(bars, due)
    assert bars.height == n_bars
    assert bars.join(due, on="ts", how="semi").height == n_bars
    assert sessions.height == 183
    assert sessions.filter(pl.col("share") >= 0.99).height == n_sessions_kept


@pytest.mark.parametrize("instrument", CRYPTO)
def test_the_newest_crypto_session_is_complete(instrument: str) -> None:
    bars = _bars("crypto_5m", instrument)
    assert bars.filter(pl.col("ts").dt.date() == CRYPTO_LAST).height == 288


@needs_shared_data
@pytest.mark.slow
def test_the_session_left_out_would_rightly_block_the_data_set() -> None:
    project = load(CHECKOUT)
    dataset, left_out = project.datasets["crypto_5m"], date(2017, 12, 31)
    due = open_calendar("24/7").due(left_out, left_out, "5m")
    counted = []
    for instrument in CRYPTO:
        bars = five_minute_bars(SHARED, instrument, last=left_out).filter(pl.col("ts").dt.date() == left_out)
        raw = bars.with_row_index("line").with_columns(
            pl.col("line").cast(pl.Int64),
            sequence=pl.lit(1, dtype=pl.Int64),
            received_at=datetime(2018, 1, 1, 1, tzinfo=UTC),
            first_session=left_out,
        )
        closes = open_calendar("24/7").closes(left_out, left_out)
        judged = judge(raw, receipts_of(raw), due, closes, first=left_out, last=left_out, timeframe="5m")
        assert judged.accepted.height == 283
        counted.append(sla.count_sessions([left_out], due, judged).with_columns(instrument=pl.lit(instrument)))
    policy = project.sla[dataset.sla]
    record = sla.verdicts(pl.concat(counted), policy.limits)
    stopped = sla.block(record, block_share=policy.block_share)
    assert stopped.blocked
    assert len(stopped.failed) == stopped.n_instruments == 6


@pytest.mark.parametrize(("instrument", "n_bars"), [(i, 5_661 if i == "BAC.XNYS" else 5_849) for i in EQUITIES])
@pytest.mark.slow
def test_equities_have_every_session_of_new_york_and_no_other(instrument: str, n_bars: int) -> None:
    due = open_calendar("XNYS").due(EQUITIES[instrument].listed, EQUITIES_LAST, "1d")
    bars = _bars("us_equities_1d", instrument)
    assert bars["ts"].to_list() == due["ts"].to_list()
    assert bars.height == n_bars


@pytest.mark.parametrize("file", sorted(EMBEDDED.glob("*/*.parquet")), ids=lambda file: file.stem)
def test_every_row_is_sorted_whole_and_keeps_its_body(file: Path) -> None:
    bars = pl.read_parquet(file)
    assert bars["ts"].is_sorted()
    assert bars["ts"].is_unique().all()
    assert bars.null_count().sum_horizontal().item() == 0
    broken = (pl.col("high") < pl.max_horizontal("open", "close")) | (
        pl.col("low") > pl.min_horizontal("open", "close")
    )
    assert bars.filter(broken | (pl.col("low") <= 0) | (pl.col("volume") < 0)).is_empty()


def test_prices_are_raw() -> None:
    # Apple closed at 645.57 on the Friday before its 7:1 split and at 93.70 on the Monday after.
    closes = _bars("us_equities_1d", "AAPL.XNAS").select("ts", "close")
    around = closes.filter(pl.col("ts").is_between(datetime(2014, 6, 6, tzinfo=UTC), datetime(2014, 6, 9, tzinfo=UTC)))
    assert around["close"].to_list() == [645.57, 93.70]


@pytest.mark.parametrize(
    ("instrument", "ex_date", "value"),
    [
        ("AAPL.XNAS", date(2000, 6, 21), 2.0),
        ("AAPL.XNAS", date(2005, 2, 28), 2.0),
        ("AAPL.XNAS", date(2014, 6, 9), 7.0),
        ("AAPL.XNAS", date(2020, 8, 31), 4.0),
        ("IBM.XNYS", date(1999, 5, 27), 2.0),
        ("BAC.XNYS", date(2004, 8, 30), 2.0),
    ],
)
def test_splits_are_the_companies_own(instrument: str, ex_date: date, value: float) -> None:
    splits = SampleSource("us_equities_1d").corporate_actions(_named(instrument)).filter(pl.col("kind") == "split")
    assert splits.filter(pl.col("ex_date") == ex_date)["value"].to_list() == [value]


def test_there_are_no_splits_besides() -> None:
    actions = SampleSource("us_equities_1d").corporate_actions(_named(*EQUITIES))
    assert actions.filter(pl.col("kind") == "split").height == 6


@pytest.mark.parametrize(
    ("instrument", "ex_date", "value"),
    [  # as the companies and the trust announced them
        pytest.param("AAPL.XNAS", date(2012, 8, 9), 2.65, id="the first of Apple's new dividend"),
        pytest.param("AAPL.XNAS", date(2014, 5, 8), 3.29, id="the last before the 7:1 split"),
        pytest.param("AAPL.XNAS", date(2014, 8, 7), 0.47, id="the first after it"),
        pytest.param("AAPL.XNAS", date(2020, 11, 6), 0.205, id="a tenth of a cent is kept"),
        pytest.param("IBM.XNYS", date(2020, 5, 7), 1.63, id="IBM"),
        pytest.param("BAC.XNYS", date(2009, 3, 4), 0.01, id="one cent after the crisis"),
        pytest.param("SPY.ARCX", date(2021, 3, 19), 1.278, id="a fund's, rounded from 1.277788"),
    ],
)
def test_dividends_are_what_was_announced(instrument: str, ex_date: date, value: float) -> None:
    actions = SampleSource("us_equities_1d").corporate_actions(_named(instrument))
    assert actions.filter(pl.col("ex_date") == ex_date)["value"].to_list() == [value]


def test_the_trust_pays_four_times_a_year() -> None:
    # In 2004 the source has a fifth, on 2004-11-15, the day Microsoft's special dividend came off its price.
    ex_dates = SampleSource("us_equities_1d").corporate_actions(_named("SPY.ARCX"))["ex_date"].dt.year()
    per_year = dict(ex_dates.value_counts().iter_rows())
    assert per_year == {year: 5 if year == 2004 else 4 for year in range(1998, 2021)} | {2021: 1}


def test_no_action_comes_before_its_instruments_first_bar() -> None:
    actions = SampleSource("us_equities_1d").corporate_actions(_named(*EQUITIES))
    listed = pl.DataFrame({"instrument": list(EQUITIES), "listed": [listing.listed for listing in EQUITIES.values()]})
    assert actions.join(listed, on="instrument").filter(pl.col("ex_date") <= pl.col("listed")).is_empty()


@pytest.mark.slow
def test_every_ex_date_is_a_session() -> None:
    ex_dates = SampleSource("us_equities_1d").corporate_actions(_named(*EQUITIES))["ex_date"]
    assert set(ex_dates) <= set(open_calendar("XNYS").sessions(date(1998, 1, 2), EQUITIES_LAST))


def test_the_whole_sample_is_at_most_eight_megabytes() -> None:
    assert sum(file.stat().st_size for file in EMBEDDED.rglob("*") if file.is_file()) <= 8_000_000


@needs_shared_data
@pytest.mark.slow
def test_packing_again_gives_the_same_rows_and_with_one_pyarrow_the_same_bytes(tmp_path: Path) -> None:
    pack(SHARED, tmp_path)
    names = [file.relative_to(EMBEDDED) for file in EMBEDDED.glob("*/*") if file.suffix in {".parquet", ".csv"}]
    assert sorted(names) == sorted(file.relative_to(tmp_path) for file in tmp_path.glob("*/*"))
    for packed, embedded in ((tmp_path / name, EMBEDDED / name) for name in names):
        assert_frame_equal(_read(packed), _read(embedded), check_exact=True)
        assert _release(packed) != _release(embedded) or packed.read_bytes() == embedded.read_bytes()


def _read(file: Path) -> pl.DataFrame:
    return pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file)


def _release(file: Path) -> str:
    return pq.read_metadata(file).created_by if file.suffix == ".parquet" else "any"


def test_a_data_set_that_is_not_embedded_is_refused_with_those_that_are() -> None:
    with pytest.raises(UnknownSampleError, match=r"'crypto_1m'.*crypto_5m or us_equities_1d"):
        SampleSource("crypto_1m")
