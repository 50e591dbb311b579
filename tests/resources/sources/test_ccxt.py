"""Exchanges through ccxt: real ccxt, asking a real server that answers as Binance does, also when it should not."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from quality import datasets
from resources.calendars import open_calendar
from resources.errors import (
    ClockDiffersError,
    GarbledAnswerError,
    NothingDeliveredError,
    NotOfferedError,
    RefusedBySourceError,
    SourceError,
    UnknownInstrumentError,
    UnreachableSourceError,
)
from resources.http import ATTEMPTS
from resources.intake import asked_until, receive
from resources.sources.ccxt_source import CcxtSource, exchanges
from resources.sources.protocol import Delivery
from tests.fakes import small_dataset
from tests.resources.sources.servers import HANG_UP, Exchange, LocalServer, Reply, as_json, price_at
from tests.resources.sources.suite import NOBODY, Facts, Opened, SourceSuite, named, received, rows_of

pytestmark = pytest.mark.slow

FIRST, LAST = date(2024, 3, 1), date(2024, 3, 4)
NOW = datetime(2024, 3, 5, 0, 1, tzinfo=UTC)
BITCOIN = named("BTCUSDT.BINANCE", "BTC/USDT", listed=date(2024, 1, 1))
ETHER = named("ETHUSDT.BINANCE", "ETHUSDT")
KLINES = "/api/v3/klines"
PAGE_OF_HTML = Reply("<html><title>Just a moment...</title></html>", headers={"Content-Type": "text/html"})
CUT_SHORT = Reply('[[1709251200000,"99.0","102.0"', headers={"Content-Type": "application/json"})


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(first=date(2024, 1, 1), end=NOW)


@pytest.fixture(scope="module")
def running() -> Iterator[LocalServer]:
    with LocalServer(Exchange(first=FIRST, end=NOW).answer, at=NOW).running() as local:
        yield local


@pytest.fixture(scope="module")
def connection(running: LocalServer) -> Any:
    """ccxt with the exchange's markets, as making one and asking for them takes longer than a test."""
    settings = datasets.CcxtSource(kind="ccxt", exchange="binance", url=running.url)
    source = CcxtSource(settings, timeframe="1h")
    source._exchange.rateLimit = 0  # what ccxt keeps to is not under test
    with pytest.raises(UnknownInstrumentError):
        received(source, NOBODY, first=FIRST, last=LAST)
    return source._exchange


@pytest.fixture
def server(running: LocalServer, exchange: Exchange) -> LocalServer:
    running.restart(exchange.answer, at=NOW)
    return running


@pytest.fixture
def opened(server: LocalServer, connection: Any) -> Opened:
    def of(*, at: datetime = NOW) -> CcxtSource:
        settings = datasets.CcxtSource(kind="ccxt", exchange="binance", url=server.url)
        source = CcxtSource(settings, timeframe="1h", clock=lambda: at)
        source._exchange = connection
        return source

    return of


@pytest.fixture
def ask(opened: Opened) -> Callable[..., list[Delivery]]:
    def asked(*, first: date = FIRST, last: date = LAST, **changes: Any) -> list[Delivery]:
        return received(opened(**changes), BITCOIN, first=first, last=last)

    return asked


class TestCcxt(SourceSuite):
    @pytest.fixture
    def facts(self) -> Facts:
        return Facts(
            instruments=(BITCOIN, ETHER),
            first=FIRST,
            last=LAST,
            n_rows=4 * 24,
            never=date(2023, 12, 31),
            n_actions=0,
            offered=("BTC/USDT", "ETH/USDT"),
            midway=datetime(2024, 3, 4, 12, 30, tzinfo=UTC),
            running=date(2024, 3, 4),
        )


def test_values_are_those_of_the_exchange(ask) -> None:
    first = rows_of(ask()).row(0, named=True)
    close = price_at(1_709_251_200_000)
    assert first["ts"] == datetime(2024, 3, 1, tzinfo=UTC)
    assert [first[name] for name in ("open", "high", "low", "close", "volume")] == [
        *(close - 1, close + 2, close - 2, close),
        5.0,
    ]


def test_a_market_may_be_named_as_the_exchange_does(opened) -> None:
    assert rows_of(received(opened(), ETHER, first=FIRST, last=LAST)).height == 48


def test_a_span_is_asked_for_page_by_page(server, exchange, ask) -> None:
    exchange.page = 10
    assert rows_of(ask()).height == 96
    assert sum(asked.path == KLINES for asked in server.asked) >= 10


def test_a_long_span_comes_in_deliveries_of_so_many_sessions(ask) -> None:
    spans = [(one.first, one.last) for one in ask(first=date(2024, 1, 1))]
    assert spans == [(date(2024, 1, 1), date(2024, 2, 11)), (date(2024, 2, 12), LAST)]


def test_what_came_before_an_error_has_been_delivered(server, exchange, opened) -> None:
    exchange.page = 250
    deliveries = opened().deliveries(BITCOIN, first=date(2024, 1, 1), last=LAST)
    next(deliveries)
    server.faults.extend([HANG_UP] * ATTEMPTS)
    with pytest.raises(UnreachableSourceError, match="the next night goes on from there"):
        next(deliveries)


def test_an_interrupted_night_goes_on_where_it_stopped(lake, server, exchange, opened) -> None:
    exchange.page = 600
    source = {"kind": "ccxt", "exchange": "binance", "url": server.url}
    dataset = small_dataset(BITCOIN.id, source=source, timeframe="1h", start=date(2024, 1, 1))
    dataset = dataset.model_copy(update={"instruments": (BITCOIN,)})
    exchange.fails_after = 2  # pages, which is the first piece
    with pytest.raises(NothingDeliveredError, match="could not be asked"):
        receive(lake, dataset, opened(), firsts={BITCOIN.id: date(2024, 1, 1)}, last=LAST, at=NOW)
    sessions = open_calendar("24/7").sessions(date(2024, 1, 1), LAST)
    until = asked_until(lake.read("receipts"), [BITCOIN.id], sessions)[BITCOIN.id]
    assert until == date(2024, 2, 11)

    exchange.fails_after = None
    server.asked.clear()
    receive(lake, dataset, opened(), firsts={BITCOIN.id: until + timedelta(days=1)}, last=LAST, at=NOW)
    begins = [int(asked.query["startTime"]) for asked in server.asked if asked.path == KLINES]
    assert min(begins) == datetime(2024, 2, 12, tzinfo=UTC).timestamp() * 1_000
    rows = lake.read("raw_bars")
    assert rows["ts"].n_unique() == rows.height == 64 * 24


def test_an_hour_without_a_bar_is_not_made_up(exchange, ask) -> None:
    del exchange.klines["BTCUSDT"][-30]
    rows = rows_of(ask())
    assert rows.height == 95
    assert (rows["ts"].diff().drop_nulls() == timedelta(hours=1)).sum() == 93


def test_days_without_any_bar_are_gone_past(exchange, ask) -> None:
    exchange.page = 24
    held = exchange.klines["BTCUSDT"]
    exchange.klines["BTCUSDT"] = held[:-96] + held[-20:]
    assert rows_of(ask(first=date(2024, 2, 25))).height == 5 * 24 + 20


def test_a_bar_off_the_grid_is_delivered_and_so_is_the_next(exchange, ask) -> None:
    exchange.page = 1
    for row in exchange.klines["BTCUSDT"][-10:-7]:
        row[0] += 1_655_000
    rows = rows_of(ask(first=LAST))
    assert rows.height == 24
    assert (rows["ts"].dt.minute() == 27).sum() == 3


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Reply("slow down", status=429, headers={"Retry-After": "1"}), id="429"),
        pytest.param(Reply("banned", status=418), id="418"),
        pytest.param(Reply("oops", status=500), id="500"),
        pytest.param(Reply("<html>Bad gateway</html>", status=502), id="502"),
        pytest.param(HANG_UP, id="the connection ends"),
        pytest.param(Reply("[[17092", n_missing=500), id="the connection ends within the answer"),
        pytest.param(CUT_SHORT, id="JSON cut short"),
        pytest.param(PAGE_OF_HTML, id="a web page with status 200"),
        pytest.param(Reply(""), id="nothing with status 200"),
        pytest.param(Reply("{}"), id="an empty object"),
        pytest.param(Reply("null"), id="null"),
        pytest.param(as_json({"data": [1]}), id="another kind of object"),
        pytest.param(as_json([["soon", "1", "2", "0.5", "1", "1"]]), id="rows without a time"),
        pytest.param(as_json([[1, "1", "2", "0.5", "1", "1"]]), id="rows of another time"),
        pytest.param(as_json([None, 7]), id="rows that are none"),
    ],
)
class TestFaults:
    def test_a_fault_that_passes_changes_nothing(self, server, ask, fault) -> None:
        whole = rows_of(ask())
        server.faults.append(fault)
        assert rows_of(ask()).equals(whole)

    def test_a_fault_that_stays_is_an_error_and_never_an_empty_delivery(self, server, opened, fault) -> None:
        source = opened()
        server.faults.extend([fault] * (2 * ATTEMPTS))
        given = []
        with pytest.raises(SourceError, match=r"ccxt binance at http://127\.0\.0\.1"):
            given.extend(source.deliveries(BITCOIN, first=FIRST, last=LAST))
        assert given == []
        assert len(server.faults) == ATTEMPTS  # asked so many times, and then no more


def test_a_page_that_is_sent_twice_is_asked_for_again(server, exchange, ask) -> None:
    exchange.page = 48
    whole = rows_of(ask())
    server.asked.clear()
    begin = next(row[0] for row in exchange.klines["BTCUSDT"] if row[0] >= 1_709_251_200_000)
    page = as_json([row for row in exchange.klines["BTCUSDT"] if row[0] >= begin][:48])
    server.faults.extend([page, page])
    assert rows_of(ask()).equals(whole)


def test_a_server_that_knows_one_page_only_is_an_error(server, exchange, ask) -> None:
    server.faults.extend([as_json(exchange.klines["BTCUSDT"][:48])] * 50)
    with pytest.raises(GarbledAnswerError, match="expected bars from 2024-01-02 23:00 UTC on"):
        ask(first=date(2024, 1, 1))


def test_a_missing_page_is_asked_for_once_more(server, exchange, ask) -> None:
    exchange.page = 24
    whole = rows_of(ask())
    server.faults.append(as_json([]))
    assert rows_of(ask()).equals(whole)


def test_rows_before_those_that_were_asked_for_are_left_out(server, exchange, ask) -> None:
    server.faults.append(as_json(exchange.klines["BTCUSDT"][-200:]))
    rows = rows_of(ask())
    assert rows.height == 96
    assert rows["ts"].min() == datetime(2024, 3, 1, tzinfo=UTC)


def test_a_price_that_is_null_is_delivered_as_it_came(exchange, ask) -> None:
    exchange.klines["BTCUSDT"][-5][2] = None
    assert rows_of(ask())["high"].null_count() == 1


def test_an_exchange_whose_clock_is_slow_closes_no_session_early_and_is_told(server, opened) -> None:
    server.at = NOW - timedelta(hours=2)
    with pytest.raises(ClockDiffersError, match=r"2024-03-04 22:01.*2024-03-05 00:01.*session 2024-03-04"):
        received(opened(), BITCOIN, first=LAST, last=LAST)


def test_what_was_over_by_both_clocks_is_delivered_before_that(server, opened) -> None:
    server.at = NOW - timedelta(hours=2)
    deliveries = opened().deliveries(BITCOIN, first=FIRST, last=LAST)
    assert next(deliveries).last == date(2024, 3, 3)
    with pytest.raises(ClockDiffersError):
        next(deliveries)


def test_an_exchange_whose_clock_is_fast_closes_no_session_early(server, opened, caplog) -> None:
    server.at = NOW + timedelta(days=1)
    given = received(opened(at=NOW - timedelta(hours=2)), BITCOIN, first=FIRST, last=LAST)
    assert given[-1].last == date(2024, 3, 3)
    assert "clock_differs source=ccxt binance" in caplog.text
    assert "seconds=+93600" in caplog.text


def test_what_the_exchange_refuses_is_not_asked_again(server, ask) -> None:
    server.faults.append(as_json({"code": -1102, "msg": "Mandatory parameter was not sent"}, status=400))
    with pytest.raises(RefusedBySourceError, match="Mandatory parameter"):
        ask()
    assert not server.faults


def test_a_renamed_instrument_is_asked_for_under_the_name_of_the_time(server, opened) -> None:
    renamed = named("NEW.BINANCE", "ETH/USDT", former=[{"symbol": "BTC/USDT", "until": date(2024, 3, 2)}])
    given = received(opened(), renamed, first=FIRST, last=LAST)
    assert [(one.first, one.last, one.rows.height) for one in given] == [
        (FIRST, date(2024, 3, 2), 48),
        (date(2024, 3, 3), LAST, 24),
    ]


def test_the_time_before_a_listing_counts_as_asked_and_is_not(server, opened) -> None:
    listed = named("BTC.BINANCE", "BTC/USDT", listed=date(2024, 3, 4))
    given = received(opened(), listed, first=FIRST, last=LAST)
    assert [(one.first, one.last, one.rows.height) for one in given] == [
        (FIRST, date(2024, 3, 3), 0),
        (LAST, LAST, 24),
    ]


def test_a_timeframe_that_the_exchange_does_not_have_is_refused_with_those_it_has() -> None:
    source = CcxtSource(datasets.CcxtSource(kind="ccxt", exchange="binance"), timeframe="7m")
    with pytest.raises(NotOfferedError, match="binance has no bars of 7m: it has 1s, 1m, 3m, 5m"):
        received(source, BITCOIN, first=FIRST, last=LAST)


def test_an_exchange_that_ccxt_does_not_know_is_refused_with_the_nearest() -> None:
    source = CcxtSource(datasets.CcxtSource(kind="ccxt", exchange="binanze"), timeframe="5m")
    with pytest.raises(NotOfferedError, match=r"no exchange 'binanze': it has binance"):
        received(source, BITCOIN, first=FIRST, last=LAST)


def test_a_market_of_another_type_is_unknown(server, connection) -> None:
    settings = datasets.CcxtSource(kind="ccxt", exchange="binance", market_type="swap", url=server.url)
    source = CcxtSource(settings, timeframe="1h", clock=lambda: NOW)
    source._exchange = connection
    with pytest.raises(SourceError, match=r"\(swap\) has no instrument 'BTC/USDT'"):
        received(source, BITCOIN, first=FIRST, last=LAST)


def test_what_is_no_list_of_markets_is_an_error(server) -> None:
    server.faults.extend([PAGE_OF_HTML] * ATTEMPTS)
    settings = datasets.CcxtSource(kind="ccxt", exchange="binance", url=server.url)
    with pytest.raises(GarbledAnswerError, match="a web page"):
        received(CcxtSource(settings, timeframe="1h"), BITCOIN, first=FIRST, last=LAST)


def test_the_exchanges_are_those_that_ccxt_lists() -> None:
    import ccxt

    assert exchanges() == sorted(ccxt.exchanges)
