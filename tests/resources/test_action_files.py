"""Factor and map files: real ones against known splits and dividends, and everything that is neither."""

from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from engine.bars import forward_adjusted
from engine.causal import Bars
from engine.evaluation import evaluate
from engine.indicators.registry import indicator
from quality.actions import from_factors
from quality.bars import judge
from quality.datasets import Instrument
from resources.action_files import LIMIT_BYTES, FactorFile, MapFile, read_action_file
from resources.calendars import open_calendar
from resources.errors import UnreadableActionFileError
from resources.market import bar_frames, listed
from tests.sample_packing import SHARED

LEAN = SHARED / "equity" / "lean_1d"
needs_shared_data = pytest.mark.skipif(not LEAN.is_dir(), reason="the shared data is not beside this checkout")
FACTORS = "20140606,0.9011818,0.0357143,645.57\n20140806,0.9011818,0.25,94.97\n20501231,1,1,0"
NAMES = "19980102,nb,N\n19980930,nb,N\n20501231,bac,N"


@cache
def sessions() -> list[date]:
    return open_calendar("XNYS").sessions(date(1998, 1, 2), date(2021, 3, 31))


@cache
def stated(name: str) -> pl.DataFrame:
    read = read_action_file(LEAN / "factor_files" / f"{name}.csv")
    assert isinstance(read, FactorFile)
    return from_factors(read.factors, sessions())


@cache
def bars(name: str) -> pl.DataFrame:
    rows = pl.read_csv(LEAN / f"{name.upper()}.csv.gz", try_parse_dates=True).rename({"date": "session"})
    return rows.with_columns(ts=pl.col("session"))


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "some.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# Splits as the companies announced them: apple.com/investor (stock splits), newsroom.ibm.com (27 May 1999), Bank of
# America (27 August 2004, trading from the 30th). SPY has not been split.
@needs_shared_data
@pytest.mark.parametrize(
    ("name", "splits"),
    [
        (
            "aapl",
            [
                (date(2000, 6, 21), 2.0),
                (date(2005, 2, 28), 2.0),
                (date(2014, 6, 9), 7.0),
                (date(2020, 8, 31), 4.0),
            ],
        ),
        ("ibm", [(date(1999, 5, 27), 2.0)]),
        ("bac", [(date(2004, 8, 30), 2.0)]),
        ("spy", []),
    ],
)
def test_the_splits_of_a_real_file_are_those_that_were_announced(name: str, splits: list[tuple[date, float]]) -> None:
    assert stated(name).filter(pl.col("kind") == "split").select("ex_date", "value").rows() == splits


# Dividends as declared: Apple 2.65 (ex 2012-08-09), 3.29 (2014-05-08), 0.205 (2021-02-05); IBM 1.63 (2021-02-09); Bank
# of America 0.64 (2008-09-03), cut to 0.32 (2008-12-03) and 0.01 (2009-03-04).
@needs_shared_data
@pytest.mark.parametrize(
    ("name", "ex_date", "paid"),
    [
        ("aapl", date(2012, 8, 9), 2.65),
        ("aapl", date(2014, 5, 8), 3.29),
        ("aapl", date(2021, 2, 5), 0.205),
        ("ibm", date(2021, 2, 9), 1.63),
        ("bac", date(2008, 9, 3), 0.64),
        ("bac", date(2008, 12, 3), 0.32),
        ("bac", date(2009, 3, 4), 0.01),
    ],
)
def test_the_dividends_of_a_real_file_are_those_that_were_declared(name: str, ex_date: date, paid: float) -> None:
    assert stated(name).filter(pl.col("ex_date") == ex_date).select("kind", "value").rows() == [("dividend", paid)]


@needs_shared_data
def test_real_map_files_say_since_when_and_under_which_name() -> None:
    read = {name: read_action_file(LEAN / "map_files" / f"{name}.csv") for name in ("aapl", "bac")}
    assert read["aapl"] == MapFile("aapl.csv", date(1998, 1, 2), None, "AAPL", ())
    assert read["bac"] == MapFile("bac.csv", date(1998, 1, 2), None, "BAC", (("NB", date(1998, 9, 30)),))


@needs_shared_data
@pytest.mark.parametrize("name", ["aapl", "ibm", "bac"])
def test_a_split_makes_no_return_of_its_own_in_forward_adjusted_bars(name: str) -> None:
    """On the day of a split raw prices fall by its ratio; adjusted ones move as little as on any other day."""
    ours = bars(name).filter(pl.col("session") >= (date(1998, 10, 1) if name == "bac" else date(1998, 1, 2)))
    moves = forward_adjusted(ours, stated(name)).select(
        "session", raw=ours["close"].log().diff(), adjusted=pl.col("close").log().diff()
    )
    splits = stated(name).filter(pl.col("kind") == "split").join(moves, left_on="ex_date", right_on="session")
    assert splits.height == {"aapl": 4, "ibm": 1, "bac": 1}[name]
    for ratio, raw, adjusted in splits.select("value", "raw", "adjusted").rows():
        assert adjusted == pytest.approx(raw + pl.Series([ratio]).log().item(), abs=1e-12)
        assert abs(adjusted) < 0.1 < abs(raw)


@needs_shared_data
@pytest.mark.parametrize("name", ["aapl", "ibm"])
def test_carrying_prices_forward_gives_the_returns_of_the_files_own_factors(name: str) -> None:
    """The file carries prices back: raw x price factor x split factor of the first row dated on or after the bar."""
    factors = read_action_file(LEAN / "factor_files" / f"{name}.csv")
    assert isinstance(factors, FactorFile)
    back = bars(name).join_asof(factors.factors.drop("close"), left_on="session", right_on="date", strategy="forward")
    expected = (pl.col("close") * pl.col("price") * pl.col("split")).log().diff().alias("move")
    moves = forward_adjusted(bars(name), stated(name)).select(pl.col("close").log().diff().alias("move"))
    assert (moves["move"] - back.select(expected)["move"]).abs().max() < 1e-5  # type: ignore[operator]


@needs_shared_data
@pytest.mark.parametrize("ex_date", [date(2014, 6, 9), date(2012, 8, 9)])
def test_a_restated_action_changes_nothing_before_its_ex_date_and_everything_from_it_on(ex_date: date) -> None:
    otherwise = stated("aapl").with_columns(
        value=pl.when(pl.col("ex_date") == ex_date).then(pl.col("value") * 1.5).otherwise("value")
    )
    one, other = (forward_adjusted(bars("aapl"), actions) for actions in (stated("aapl"), otherwise))
    before = pl.col("session") < ex_date
    assert one.filter(before).equals(other.filter(before))
    changed = one.filter(~before)["close"] != other.filter(~before)["close"]
    assert changed.all()


@needs_shared_data
def test_a_restated_split_changes_exactly_the_features_from_its_ex_date_on() -> None:
    ex_date = date(2014, 6, 9)
    otherwise = stated("aapl").filter(pl.col("ex_date") != ex_date)
    columns = {
        "sma_20": indicator("sma", Bars("1d"), length=20),
        "atr_14": indicator("atr", Bars("1d"), length=14),
        "roc_252": indicator("roc", Bars("1d"), length=252),
    }
    raw = bars("aapl").with_columns(pl.col("session").cast(pl.Datetime("us", "UTC")).alias("ts"))
    raw = raw.with_columns(known_at=pl.col("ts").dt.offset_by("1d"), volume=pl.col("volume").cast(pl.Float64))
    one, other = (
        evaluate(columns, bar_frames({"1d": raw}, actions), "1d").select(*columns)
        for actions in (stated("aapl"), otherwise)
    )
    n = raw.filter(pl.col("session") < ex_date).height
    assert one.head(n).equals(other.head(n))
    assert all((one[name][n:] != other[name][n:]).any() for name in columns)
    assert one.row(n) != other.row(n), "the ex-date itself is the first to change"


@needs_shared_data
def test_the_other_company_that_was_called_bac_is_not_paid_for() -> None:
    """Trap 27: the factors of before 1998-10 are NationsBank's, the rows of the file BankAmerica's."""
    before = stated("bac").filter(pl.col("ex_date") <= date(1998, 10, 1))
    assert before["ex_date"].to_list() == [date(1998, 3, 4), date(1998, 6, 3), date(1998, 9, 2)]
    ours = bars("bac").filter(pl.col("session") >= date(1998, 10, 1))
    after = stated("bac").filter(pl.col("ex_date") > date(1998, 10, 1))
    assert forward_adjusted(ours, stated("bac")).equals(forward_adjusted(ours, after))


def test_a_delisted_name_has_a_last_day(tmp_path: Path) -> None:
    read = read_action_file(written(tmp_path, "19990118,goog\n20040819,googl\n20140402,goocv\n"))
    assert read == MapFile(
        "some.csv", date(1999, 1, 18), date(2014, 4, 2), "GOOCV", (("GOOG", date(1999, 1, 18)), ("GOOGL", date(2004, 8, 19)))
    )  # fmt: skip


def test_what_is_around_the_lines_does_not_matter(tmp_path: Path) -> None:
    read = read_action_file(written(tmp_path, "\ufeff" + FACTORS.replace("\n", "\r\n\r\n").replace(",", ", ")))
    assert isinstance(read, FactorFile)
    assert read.factors.height == 3
    assert isinstance(read_action_file(written(tmp_path, NAMES + "\n\n")), MapFile)


def test_a_factor_file_of_before_reference_closes_is_read_for_its_splits(tmp_path: Path) -> None:
    read = read_action_file(written(tmp_path, "20140606,1,0.25\n20501231,1,1"))
    assert isinstance(read, FactorFile)
    assert read.factors["close"].to_list() == [None, None]
    assert from_factors(read.factors, sessions()).rows() == [(date(2014, 6, 9), "split", 4.0)]


REFUSED = [
    pytest.param("", "no lines", id="empty"),
    pytest.param("\n \n", "no lines", id="blank"),
    pytest.param("hello", r"some.csv:1: 'hello'; expected lines such as 20140606", id="a letter"),
    pytest.param(b"PK\x03\x04\x00\x00\xff\xfe", "no text", id="an archive"),
    pytest.param("a\0b,c,d", "no text", id="zeros"),
    pytest.param("date,open,high,low,close,volume\n2020-01-01,1,1,1,1,1", "expected lines such as", id="bars"),
    pytest.param(FACTORS.replace("20140806", "20140806x"), "some.csv:2: .*20140806x", id="a day that is none"),
    pytest.param(FACTORS.replace("20140806", "20140231"), "some.csv:2", id="the 31st of February"),
    pytest.param(FACTORS.replace("0.25", "-0.25"), "some.csv:2", id="a factor below zero"),
    pytest.param(FACTORS.replace("0.25", "inf"), "some.csv:2", id="a factor without end"),
    pytest.param(FACTORS.replace("0.25", "zero"), "some.csv:2", id="a factor in words"),
    pytest.param(FACTORS.replace(",94.97", ",94.97,1"), "some.csv:2", id="a column too many"),
    pytest.param(FACTORS.replace("20140806", "20140606"), "2014-06-06 after 2014-06-06", id="a day twice"),
    pytest.param(FACTORS.replace("20140806", "20000101"), "dates that ascend", id="newest first"),
    pytest.param(FACTORS.replace("94.97", "0"), "a dividend after 2014-08-06, and 0", id="a dividend of no close"),
    pytest.param(NAMES.replace("nb", "n b"), "some.csv:1", id="a name with a space"),
    pytest.param(NAMES.replace("19980930", "19970930"), "1997-09-30 after 1998-01-02", id="names out of order"),
    pytest.param(NAMES + ",x,y", "some.csv:3", id="a map with five columns"),
    pytest.param("1" * (LIMIT_BYTES + 1), f"at most {LIMIT_BYTES:,}", id="far too long"),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_what_is_neither_is_refused_with_its_line(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    with pytest.raises(UnreadableActionFileError, match=sentence):
        read_action_file(written(tmp_path, text))


def test_a_path_that_leads_to_no_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(written(tmp_path, FACTORS))
    for name in ("link", ".", "nowhere.csv"):
        with pytest.raises(UnreadableActionFileError, match="no plain file"):
            read_action_file(tmp_path / name)


@needs_shared_data
def test_its_bars_are_quarantined_as_they_lie_before_the_listing() -> None:
    """All 188 rows up to 1998-09-30, and no other; with them in, a year of returns would be another company's."""
    first, last, calendar = date(1998, 1, 2), date(1998, 12, 31), open_calendar("XNYS")
    bank = Instrument.model_validate(
        {"id": "BAC.XNYS", "symbol": "BAC", "listed": date(1998, 10, 1), "quote": "USD", "settle": "USD"}
        | {"tick": 0.01, "lot": 1, "min_notional": 0, "tier": "large"}
    )
    raw = bars("bac").filter(pl.col("session") <= last).with_row_index("line")
    raw = raw.with_columns(pl.col("session").cast(pl.Datetime("us", "UTC")).alias("ts"), sequence=pl.lit(1, pl.Int64))
    raw = raw.with_columns(pl.col("line").cast(pl.Int64), pl.col("volume").cast(pl.Float64)).drop("session")
    receipt = {
        "sequence": 1,
        "received_at": datetime(2024, 1, 1, tzinfo=UTC),
        "first_session": first,
        "last_session": last,
    }
    receipts = pl.DataFrame([receipt])
    due = listed(calendar.due(first, last, "1d"), bank)
    judged = judge(raw, receipts, due, calendar.closes(first, last), first=first, last=last, timeframe="1d")
    assert judged.accepted["session"].min() == date(1998, 10, 1)
    assert judged.quarantined["session"].max() == date(1998, 9, 30)
    assert judged.quarantined.height == 188
    assert judged.quarantined["rules"].explode().unique().to_list() == ["off_session"]
