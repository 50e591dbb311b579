"""The files source: whose bars a file holds, which files are refused, and in what order the others are handed on."""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from quality.datasets import Dataset, Instrument
from quality.errors import ConfigurationError
from resources.bar_files.layouts import load_formats
from resources.bar_files.reading import BarFile, read_bar_file
from resources.calendars import open_calendar
from resources.errors import UnknownInstrumentError, UnusableInboxError
from resources.inbox import SETTLED_AFTER
from resources.settings import Settings
from resources.sources.files_source import FilesSource, Handled, answering, delivery
from resources.sources.protocol import ACTIONS, RECEIVED, Delivery
from resources.sources.registry import refusals
from tests.fakes import ONE, OTHER, small_dataset
from tests.resources.sources.suite import Facts, Opened, SourceSuite
from tests.sample_packing import SHARED

pytestmark = pytest.mark.slow

needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout")
BOTH = small_dataset(ONE, OTHER, source={"kind": "files"})
DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(31)]
OPENED = datetime.now(UTC) - SETTLED_AFTER - timedelta(hours=1)
Drop = Callable[..., Path]


@pytest.fixture
def places(tmp_path: Path) -> Settings:
    return Settings(project=tmp_path, home=tmp_path / "home")


@pytest.fixture
def folder(places: Settings) -> Path:
    made = places.home / "inbox" / "small"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def drop(folder: Path) -> Drop:
    """Puts a file into the inbox, each a second after the one before, and long ago."""
    dropped = []

    def put(name: str, content: str | bytes | Path) -> Path:
        path = folder / name
        if isinstance(content, Path):
            shutil.copyfile(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        dropped.append(name)
        stamp = (OPENED + timedelta(seconds=len(dropped))).timestamp()
        os.utime(path, (stamp, stamp))
        return path

    return put


def daily(first: int, last: int, *, price: float = 10.0) -> str:
    """Daily bars of January 2020, both days included."""
    rows = [f"{DAYS[n - 1]},{price},{price + 1},{price - 1},{price},100" for n in range(first, last + 1)]
    return "\n".join(["date,open,high,low,close,volume", *rows, ""])


def minutes(step: int, n: int = 30) -> str:
    stamps = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=step * i) for i in range(n)]
    rows = [f"{stamp:%Y-%m-%d %H:%M:%S},10,11,9,10,100" for stamp in stamps]
    return "\n".join(["date,open,high,low,close,volume", *rows, ""])


def several(*names: str) -> str:
    rows = [f"{day},{name},10,11,9,10,100" for name in names for day in DAYS[:10]]
    return "\n".join(["date,symbol,open,high,low,close,volume", *rows, ""])


def one_round(source: FilesSource, dataset: Dataset = BOTH) -> list[Delivery]:
    return [
        one
        for instrument in dataset.instruments
        for one in source.deliveries(instrument, first=dataset.start, last=dataset.start)
    ]


def every_round(source: FilesSource, dataset: Dataset = BOTH) -> list[list[Delivery]]:
    rounds = []
    while source.has_more:
        rounds.append(one_round(source, dataset))
        source.settle()
    return rounds


def origins(rounds: Iterable[Iterable[Delivery]]) -> list[list[str]]:
    return [[one.origin for one in each] for each in rounds]


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


# Whose bars


def instruments(*named: str) -> list[Instrument]:
    """Of `id=symbol` or `id`."""
    terms = {"quote": "USD", "settle": "USD", "tick": 0.01, "lot": 1, "min_notional": 0, "tier": "large"}
    pairs = [(name.partition("=")[0], name.partition("=")[2] or name) for name in named]
    return [Instrument.model_validate({"id": one, "symbol": called, **terms}) for one, called in pairs]


CRYPTO = ("BTCUSD.BITFINEX=tBTCUSD", "BTCUSDT.BINANCE=BTC/USDT", "ETHUSD.BITFINEX=tETHUSD")


@pytest.mark.parametrize(
    ("name", "known", "claimants"),
    [
        pytest.param("BTCUSD.BITFINEX.csv", CRYPTO, ["BTCUSD.BITFINEX"], id="by its id"),
        pytest.param("BTCUSD_2016-07_2017-01.parquet", CRYPTO, ["BTCUSD.BITFINEX"], id="by its id without the venue"),
        pytest.param("tbtcusd-5m.csv", CRYPTO, ["BTCUSD.BITFINEX"], id="by its symbol, in any case"),
        pytest.param("BTC-USDT_1h.csv", CRYPTO, ["BTCUSDT.BINANCE"], id="whatever stands between the letters"),
        pytest.param("btcusdt.csv", CRYPTO, ["BTCUSDT.BINANCE"], id="of two beginnings the longer"),
        pytest.param("9988.HK_T5.csv.gz", ("9988.HK",), ["9988.HK"], id="a name with a full stop"),
        pytest.param("^GSPC.csv", ("SPX.INDEX=^GSPC",), ["SPX.INDEX"], id="a symbol with a mark before it"),
        pytest.param("AAPL.csv", ("A.XNYS", "AA.XNYS"), [], id="a word is matched to its end"),
        pytest.param("histdata_EURUSD_2017.csv", ("EURUSD.FX",), [], id="not at the beginning"),
        pytest.param("prices.csv", CRYPTO, [], id="nothing like it"),
        pytest.param("SPY.csv", ("SPY.ARCX", "SPY.XNAS"), ["SPY.ARCX", "SPY.XNAS"], id="of two venues"),
        pytest.param("SPY.XNAS.csv", ("SPY.ARCX", "SPY.XNAS"), ["SPY.XNAS"], id="of two venues, with the venue"),
        pytest.param("$.csv", ("X.Y=$",), [], id="a symbol without a letter matches nothing"),
        pytest.param("", CRYPTO, [], id="no name"),
    ],
)
def test_a_file_belongs_to_the_instrument_that_its_name_begins_with(
    name: str, known: tuple[str, ...], claimants: list[str]
) -> None:
    assert answering(name, instruments(*known), whole=False) == claimants


@pytest.mark.parametrize(
    ("name", "claimants"),
    [
        ("btc/usdt", ["BTCUSDT.BINANCE"]),
        ("ETHUSD.BITFINEX", ["ETHUSD.BITFINEX"]),
        ("ETHUSD", ["ETHUSD.BITFINEX"]),
        ("ETHUSD-PERP", []),
        ("ETH", []),
    ],
)
def test_a_series_belongs_to_the_instrument_that_its_name_is(name: str, claimants: list[str]) -> None:
    assert answering(name, instruments(*CRYPTO), whole=True) == claimants


def test_a_former_name_is_a_name() -> None:
    (bank,) = instruments("BAC.XNYS=BAC")
    renamed = bank.model_validate({**bank.model_dump(), "former": [{"symbol": "NB", "until": date(1998, 9, 30)}]})
    assert answering("NB_1997.csv", [renamed], whole=False) == ["BAC.XNYS"]


ids = st.from_regex(r"[A-Z0-9]{1,5}\.[A-Z]{1,4}", fullmatch=True)


@given(st.lists(ids, min_size=1, max_size=6, unique=True), st.data())
@with_settings(max_examples=100)
def test_a_file_named_after_an_id_is_never_given_to_another_alone(known: list[str], data: st.DataObject) -> None:
    own = data.draw(st.sampled_from(known))
    claimants = answering(f"{own.lower()} 2024.csv", instruments(*known), whole=False)
    assert own in claimants


# What is delivered


def test_a_file_is_handed_on_as_received_and_put_away(drop: Drop, folder: Path, places: Settings) -> None:
    drop("ONE.TEST january.csv", daily(1, 10))
    source = FilesSource(BOTH, places)
    (given,) = one_round(source)
    assert given.rows.schema == RECEIVED
    assert given.rows["line"].to_list() == list(range(1, 11))
    assert given.rows["ts"].dt.date().to_list() == DAYS[:10]
    assert (given.instrument, *given[2:]) == (ONE, "ONE.TEST january.csv", DAYS[0], DAYS[9])
    assert "done/ONE.TEST january.csv" not in tree(folder)
    source.settle()
    assert tree(folder) == {"done/ONE.TEST january.csv"}
    assert source.handled == [Handled("ONE.TEST january.csv", "taken in", "ONE.TEST 2020-01-01 to 2020-01-10")]


def test_files_that_follow_each_other_are_one_round_in_order_of_arrival(drop: Drop, places: Settings) -> None:
    drop("one-b.csv", daily(11, 20))
    drop("one-a.csv", daily(1, 10))
    drop("other.csv", daily(1, 31))
    assert origins(every_round(FilesSource(BOTH, places))) == [["one-b.csv", "one-a.csv", "other.csv"]]


def test_a_file_that_speaks_of_the_same_sessions_waits_for_the_next_round(drop: Drop, places: Settings) -> None:
    drop("one-1.csv", daily(1, 10))
    drop("one-2.csv", daily(10, 20, price=20))
    drop("one-3.csv", daily(25, 31))
    drop("other.csv", daily(1, 31))
    assert origins(every_round(FilesSource(BOTH, places))) == [["one-1.csv", "other.csv"], ["one-2.csv", "one-3.csv"]]


def test_a_file_whose_name_says_nothing_is_a_round_of_its_own(drop: Drop, folder: Path, places: Settings) -> None:
    drop("one-1.csv", daily(1, 10))
    drop("all.csv", several("other", "ONE.TEST"))
    drop("one-2.csv", daily(1, 10, price=20))
    source = FilesSource(BOTH, places)
    assert origins(every_round(source)) == [["one-1.csv"], ["all.csv#ONE.TEST", "all.csv#other"], ["one-2.csv"]]
    assert tree(folder) == {"done/one-1.csv", "done/all.csv", "done/one-2.csv"}


def test_a_file_is_not_put_away_before_all_of_it_was_handed_on(drop: Drop, folder: Path, places: Settings) -> None:
    drop("all.csv", several("other", "one.test"))
    source = FilesSource(BOTH, places)
    assert len(list(source.deliveries(BOTH.instruments[0], first=DAYS[0], last=DAYS[1]))) == 1
    source.settle()
    assert tree(folder) == {"all.csv"}
    assert origins(every_round(FilesSource(BOTH, places))) == [["all.csv#one.test", "all.csv#other"]]


def test_another_opening_before_anything_was_settled_delivers_the_same_bytes(drop: Drop, places: Settings) -> None:
    drop("one.csv", daily(1, 10))
    once, again = (one_round(FilesSource(BOTH, places))[0] for _ in range(2))
    assert once.rows.equals(again.rows)
    assert once[2:] == again[2:]


def test_a_file_of_an_unread_instrument_is_not_opened(drop: Drop, folder: Path, places: Settings) -> None:
    drop("other.csv", b"\0not bars")
    source = FilesSource(BOTH, places)
    assert list(source.deliveries(BOTH.instruments[0], first=DAYS[0], last=DAYS[1])) == []
    source.settle()
    assert tree(folder) == {"other.csv"}


def test_an_instrument_it_does_not_have_is_refused_with_those_it_has(places: Settings) -> None:
    (stranger,) = instruments("NOSUCH.VENUE")
    source = FilesSource(BOTH, places)
    with pytest.raises(UnknownInstrumentError, match=r"it has ONE\.TEST, OTHER\.TEST"):
        next(source.deliveries(stranger, first=DAYS[0], last=DAYS[1]))
    with pytest.raises(UnknownInstrumentError):
        source.corporate_actions([stranger])


def test_it_has_no_last_session_and_states_no_actions_of_its_own(places: Settings) -> None:
    source = FilesSource(BOTH, places)
    assert source.last_session() is None  # type: ignore[func-returns-value]
    assert source.corporate_actions(BOTH.instruments).equals(ACTIONS.to_frame())


class TestFiles(SourceSuite):
    @pytest.fixture
    def opened(self, drop: Drop, places: Settings) -> Opened:
        drop("one.csv", daily(1, 10))
        drop("one-2.csv", daily(11, 20))
        drop("other.csv", daily(1, 31))
        return lambda: FilesSource(BOTH, places)

    @pytest.fixture
    def facts(self) -> Facts:
        return Facts(
            instruments=BOTH.instruments,
            first=DAYS[0],
            last=DAYS[19],
            n_rows=20,
            never=None,
            n_actions=0,
            offered=(ONE, OTHER),
            gives_spans=False,
        )


# What is refused

REFUSED = [
    pytest.param("prices.csv", daily(1, 9), "no instrument answers to it; the instruments are ONE.TEST, OTHER.TEST", id="of nobody"),
    pytest.param("all.csv", several("one", "three"), "the name of its series is 'three', and no instrument answers", id="one series of nobody"),
    pytest.param("all.csv", several("one", "one.test"), "series one and one.test are both ONE.TEST", id="two series of one instrument"),
    pytest.param("one.csv", several("other"), "its name says ONE.TEST and its rows are of other", id="a name that contradicts the rows"),
    pytest.param("one.csv", minutes(1), "its bars are of 1m, those of small of 1d: make a data set with `timeframe: 1m`", id="finer bars"),
    pytest.param("one.csv", "date,open,high,low,close,volume\n", "no data", id="no rows"),
    pytest.param("one.csv", "", "", id="empty"),
    pytest.param("one.csv", b"\x7fELF\0\1\2" * 500, "", id="junk"),
    pytest.param("one.csv", "the quick\nbrown fox\n", "", id="prose"),
    pytest.param("one.zip", b"PK\3\4" + b"\0" * 40, "", id="half a zip"),
    pytest.param("one.parquet", b"PAR1half", "", id="half a Parquet"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "sentence"), REFUSED)
def test_a_file_that_cannot_be_taken_is_refused_beside_the_reason_and_the_others_go_on(
    drop: Drop, folder: Path, places: Settings, name: str, content: str | bytes, sentence: str
) -> None:
    drop(name, content)
    drop("other.csv", daily(1, 31))
    source = FilesSource(BOTH, places)
    assert origins(every_round(source))[-1] == ["other.csv"]
    assert tree(folder) == {f"refused/{name}", f"refused/{name}.why.txt", "done/other.csv"}
    why = (folder / "refused" / f"{name}.why.txt").read_text()
    assert why.startswith(f"{name} was not taken into small:\n\n    ")
    assert sentence in why
    assert "gauntlet import FILE --dataset small --instrument ID" in why
    assert [(one.file, one.outcome) for one in source.handled] == [(name, "refused"), ("other.csv", "taken in")]


def test_an_error_that_nobody_foresaw_refuses_its_file_and_the_others_go_on(
    drop: Drop, folder: Path, places: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, **options: object) -> BarFile:
        if path.name == "one.csv":
            raise ZeroDivisionError
        return read_bar_file(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("resources.sources.files_source.read_bar_file", read)
    drop("one.csv", daily(1, 31))
    drop("other.csv", daily(1, 31))
    assert origins(every_round(FilesSource(BOTH, places)))[-1] == ["other.csv"]
    assert "nobody foresaw: ZeroDivisionError" in (folder / "refused" / "one.csv.why.txt").read_text()


def test_layouts_of_the_project_that_cannot_be_used_refuse_no_file(drop: Drop, folder: Path, places: Settings) -> None:
    (places.project / "formats").mkdir()
    (places.project / "formats" / "mine.yaml").write_text("name: mine\n")
    drop("one.csv", daily(1, 31))
    with pytest.raises(ConfigurationError):
        one_round(FilesSource(BOTH, places))
    assert tree(folder) == {"one.csv"}


def test_a_time_zone_that_is_not_known_is_refused_when_the_data_set_is_read() -> None:
    with pytest.raises(ValueError, match="timezone"):
        small_dataset(source={"kind": "files", "timezone": "Mars/Olympus"})


def test_a_layout_that_is_not_known_is_refused_with_the_nearest(places: Settings) -> None:
    (refusal,) = refusals(small_dataset(source={"kind": "files", "format": "histdta"}), project=places.project)
    assert (refusal.at, refusal.nearest) == (("source", "format"), "histdata")
    known = small_dataset(source={"kind": "files", "format": "histdata"})
    assert list(refusals(known, project=places.project)) == []


def test_a_layout_is_looked_up_in_the_project_that_asks_for_it(places: Settings, tmp_path: Path) -> None:
    other = tmp_path / "other" / "formats"
    other.mkdir(parents=True)
    shipped = load_formats()["histdata"]
    layout = shipped.model_copy(update={"name": "mine"}).model_dump(mode="json", exclude_defaults=True)
    (other / "mine.yaml").write_text(json.dumps(layout))
    dataset = small_dataset(source={"kind": "files", "format": "mine"})
    assert list(refusals(dataset, project=other.parent)) == []
    assert [one.at for one in refusals(dataset, project=places.project)] == [("source", "format")]


def test_two_that_answer_alike_are_named(drop: Drop, folder: Path, places: Settings) -> None:
    dataset = small_dataset("SPY.ARCX", "SPY.XNAS", source={"kind": "files"})
    drop("spy.csv", daily(1, 9))
    assert every_round(FilesSource(dataset, places), dataset) == [[]]
    assert "SPY.ARCX and SPY.XNAS answer to it alike" in (folder / "refused" / "spy.csv.why.txt").read_text()


def test_a_coarser_file_is_refused_with_both_timeframes(drop: Drop, folder: Path, places: Settings) -> None:
    dataset = small_dataset(source={"kind": "files"}, timeframe="5m")
    drop("one.csv", minutes(60))
    every_round(FilesSource(dataset, places), dataset)
    why = (folder / "refused" / "one.csv.why.txt").read_text()
    assert "its bars are of 1h, those of small of 5m: get the bars of 5m, or make a data set of 1h" in why


def test_a_link_is_refused_without_being_read(drop: Drop, folder: Path, places: Settings, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csv").write_text(daily(1, 9))
    (folder / "one.csv").symlink_to(tmp_path / "elsewhere.csv")
    stamp = OPENED.timestamp()
    os.utime(folder / "one.csv", (stamp, stamp), follow_symlinks=False)
    assert every_round(FilesSource(BOTH, places)) == [[]]
    assert "it is a link" in (folder / "refused" / "one.csv.why.txt").read_text()
    assert (tmp_path / "elsewhere.csv").exists()


def test_a_file_that_cannot_be_dated_by_the_calendar_is_refused(drop: Drop, folder: Path, places: Settings) -> None:
    dataset = small_dataset(source={"kind": "files"}, timeframe="1h", calendar="XNYS")
    drop("one.csv", minutes(60).replace("2020-01", "1901-01"))
    every_round(FilesSource(dataset, places), dataset)
    assert "refused/one.csv" in tree(folder)


@pytest.mark.parametrize("year", ["1960", "2098"])
def test_a_daily_file_beyond_the_calendar_or_the_day_is_refused(
    drop: Drop, folder: Path, places: Settings, year: str
) -> None:
    drop("one.csv", daily(1, 10).replace("2020", year))
    assert every_round(FilesSource(BOTH, places)) == [[]]
    assert "no session can be told for its 10 rows" in (folder / "refused" / "one.csv.why.txt").read_text()


# Which sessions a file speaks for


def test_a_stray_stamp_of_a_year_to_come_speaks_for_no_session(drop: Drop, places: Settings) -> None:
    drop("one-1.csv", daily(1, 10) + "2098-01-31,10,11,9,10,100\n")
    drop("one-2.csv", daily(11, 20))
    ((first, second),) = every_round(FilesSource(BOTH, places))
    assert (first.first, first.last, first.rows.height) == (DAYS[0], DAYS[9], 11)
    assert (second.first, second.last) == (DAYS[10], DAYS[19])


@pytest.mark.parametrize(
    ("at", "last"),
    [
        pytest.param(datetime(2020, 1, 5, tzinfo=UTC), DAYS[3], id="the newest that has closed"),
        pytest.param(datetime(2020, 1, 4, 23, tzinfo=UTC), DAYS[2], id="not one that closes later"),
        pytest.param(datetime(2020, 1, 1, 12, tzinfo=UTC), DAYS[0], id="never before its first"),
        pytest.param(datetime(2020, 2, 1, tzinfo=UTC), DAYS[9], id="and not beyond its last bar"),
    ],
)
def test_a_file_speaks_for_sessions_that_have_closed(tmp_path: Path, at: datetime, last: date) -> None:
    (tmp_path / "one.csv").write_text(daily(1, 10))
    (series,) = read_bar_file(tmp_path / "one.csv").series
    given = delivery(BOTH, open_calendar("24/7"), ONE, series, origin="one.csv", at=at)
    assert (given.first, given.last, given.rows.height) == (DAYS[0], last, 10)


# Whether its clock is believed


def weeks(*, late: timedelta) -> str:
    """Six weeks of currencies in bars of a quarter of an hour, written without a zone."""
    due = open_calendar("FX").due(date(2020, 1, 6), date(2020, 2, 14), "15m")["ts"]
    rows = [f"{stamp + late:%Y-%m-%d %H:%M:%S},10,11,9,10,100" for stamp in due]
    return "\n".join(["date,open,high,low,close,volume", *rows, ""])


def currencies(**says: str) -> Dataset:
    return small_dataset(source={"kind": "files", **says}, timeframe="15m", calendar="FX")


HOURS, BAR = timedelta(hours=5), timedelta(minutes=15)


@pytest.mark.parametrize(
    ("late", "says", "sentences"),
    [
        pytest.param(HOURS, {}, ["would fit 5 hours earlier", "or with `timezone:` under `source`", "`misread_as`"], id="11: a zone"),
        pytest.param(HOURS, {"label": "open"}, ["would fit 5 hours earlier"], id="11: a zone, of which a label says nothing"),
        pytest.param(BAR, {}, ["lack the bar of their open", "or with `label:` under `source`"], id="8: labels"),
        pytest.param(BAR, {"timezone": "UTC"}, ["lack the bar of their open"], id="8: labels, of which a zone says nothing"),
    ],
)  # fmt: skip
def test_a_file_whose_clock_fits_otherwise_is_refused_until_somebody_says_what_it_is(
    drop: Drop, folder: Path, places: Settings, late: timedelta, says: dict[str, str], sentences: list[str]
) -> None:
    dataset = currencies(**says)
    drop("one.csv", weeks(late=late))
    assert every_round(FilesSource(dataset, places), dataset) == [[]]
    why = (folder / "refused" / "one.csv.why.txt").read_text()
    assert [sentence for sentence in sentences if sentence not in why] == []


@pytest.mark.parametrize(
    ("late", "says", "doubt"),
    [
        pytest.param(timedelta(), {}, None, id="nothing to doubt"),
        pytest.param(HOURS, {"timezone": "UTC"}, "would fit 5 hours earlier", id="a zone that was said"),
        pytest.param(BAR, {"label": "open"}, "lack the bar of their open", id="a label that was said"),
        pytest.param(BAR, {"label": "close"}, None, id="a label that was said, rightly"),
    ],
)
def test_a_clock_that_somebody_has_said_is_believed_and_the_doubt_told(
    drop: Drop, places: Settings, late: timedelta, says: dict[str, str], doubt: str | None
) -> None:
    dataset = currencies(**says)
    drop("one.csv", weeks(late=late))
    source = FilesSource(dataset, places)
    assert origins(every_round(source, dataset)) == [["one.csv"]]
    (handled,) = source.handled
    assert handled.outcome == "taken in"
    assert ("suspicious: " in handled.about, (doubt or "") in handled.about) == (doubt is not None, True)


# What happens meanwhile


def test_a_file_that_goes_before_it_is_read_is_no_error(drop: Drop, folder: Path, places: Settings) -> None:
    drop("one.csv", daily(1, 10))
    path = drop("other.csv", daily(1, 10))
    source = FilesSource(BOTH, places)
    first = source.deliveries(BOTH.instruments[0], first=DAYS[0], last=DAYS[1])
    assert next(first).instrument == ONE
    path.unlink()
    assert list(first) == []
    assert list(source.deliveries(BOTH.instruments[1], first=DAYS[0], last=DAYS[1])) == []
    source.settle()
    assert tree(folder) == {"done/one.csv"}
    assert [(one.file, one.outcome) for one in source.handled] == [("other.csv", "left"), ("one.csv", "taken in")]


def test_a_file_that_is_written_to_after_it_was_read_waits_as_what_it_is_now(
    drop: Drop, folder: Path, places: Settings
) -> None:
    path = drop("one.csv", daily(1, 10))
    source = FilesSource(BOTH, places)
    one_round(source)
    path.write_text(daily(1, 12))
    source.settle()
    assert tree(folder) == {"one.csv"}
    assert not source.has_more, "it was written to a moment ago"
    os.utime(path, (OPENED.timestamp(),) * 2)
    assert [one.rows.height for one in one_round(source)] == [12]


def test_a_half_written_file_is_not_looked_at(folder: Path, places: Settings) -> None:
    (folder / "one.csv").write_text(daily(1, 10)[:-20])
    (folder / "other.csv.part").write_text("date,op")
    source = FilesSource(BOTH, places)
    assert not source.has_more
    assert one_round(source) == []
    assert tree(folder) == {"one.csv", "other.csv.part"}


def test_an_inbox_that_cannot_be_emptied_is_told_before_anything_is_delivered(
    drop: Drop, folder: Path, places: Settings
) -> None:
    drop("one.csv", daily(1, 10))
    (folder / "done").write_text("a file where the room should be")
    with pytest.raises(UnusableInboxError, match="cannot be used"):
        one_round(FilesSource(BOTH, places))


# Real files


def real(name: str) -> Path:
    return SHARED / name


@needs_shared_data
def test_crypto_minutes_of_a_real_exchange(drop: Drop, places: Settings) -> None:
    dataset = small_dataset("ETHUSD.BITFINEX", source={"kind": "files"}, timeframe="1m")
    drop("ETHUSD_2017-07_2018-01.parquet", real("crypto/bitfinex_1m/ETHUSD_2017-07_2018-01.parquet"))
    ((given,),) = every_round(FilesSource(dataset, places), dataset)
    assert given.rows.height == pl.read_parquet(real("crypto/bitfinex_1m/ETHUSD_2017-07_2018-01.parquet")).height
    assert (given.first, given.last) == (date(2017, 7, 1), date(2017, 12, 31))


@needs_shared_data
def test_sessions_of_new_york_are_those_that_the_bars_are_of(drop: Drop, places: Settings) -> None:
    dataset = small_dataset("MSFT.XNAS", source={"kind": "files", "timezone": "UTC"}, timeframe="5m", calendar="XNYS")
    drop("MSFT.csv.gz", real("equity/yahoo_intraday/MSFT_5T_231218_240214.csv.gz"))
    ((given,),) = every_round(FilesSource(dataset, places), dataset)
    assert (given.rows.height, given.first, given.last) == (3065, date(2023, 12, 18), date(2024, 2, 14))


@needs_shared_data
def test_dividends_are_stated_for_the_sessions_of_a_files_bars_and_splits_it_was_divided_by_are_not(
    drop: Drop, places: Settings
) -> None:
    dataset = small_dataset("KO.XNYS", source={"kind": "files", "format": "zipline_csvdir"}, calendar="XNYS")
    drop("KO.csv.gz", real("equity/zipline_csvdir/KO.csv.gz"))
    source = FilesSource(dataset, places)
    (given,) = one_round(source, dataset)
    (stated,) = source.statements()
    assert (stated.instrument, stated.source, stated.origin) == ("KO.XNYS", "files", "KO.csv.gz")
    assert (stated.first, stated.last) == (given.first, given.last) == (date(2012, 1, 3), date(2014, 12, 31))
    assert set(stated.actions["kind"]) == {"dividend"}, (
        "35 dollars before Coca-Cola's two for one of 2012-08-13 as after"
    )
    assert source.corporate_actions(dataset.instruments).height == stated.actions.height


@needs_shared_data
def test_the_contracts_of_one_file_go_to_their_instruments(drop: Drop, places: Settings) -> None:
    path = real("futures/lean_ES_1m.parquet")
    contracts = pl.read_parquet(path, columns=["contract"])["contract"].value_counts().sort("contract")
    dataset = small_dataset(
        *(f"{name}.XCME" for name in contracts["contract"]),
        source={"kind": "files", "format": "lean_futures"},
        timeframe="1m",
        calendar="24/7",
    )
    drop("futures.parquet", path)
    (given,) = every_round(FilesSource(dataset, places), dataset)
    assert {one.instrument.removesuffix(".XCME"): one.rows.height for one in given} == dict(contracts.rows())
