"""Daily bars over HTTP: a real server that answers as Yahoo's chart does, also when it should not."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given as forall
from hypothesis import settings as checked
from hypothesis import strategies as st

from quality import datasets
from resources.calendars import open_calendar
from resources.errors import (
    ClockDiffersError,
    GarbledAnswerError,
    RefusedBySourceError,
    SourceError,
    UnknownInstrumentError,
    UnreachableSourceError,
)
from resources.http import ATTEMPTS
from resources.sources.http_daily_source import HttpDailySource, _as_meant
from resources.sources.protocol import Delivery
from tests.resources.sources.servers import HANG_UP, NEW_YORK, ChartServer, LocalServer, Reply, as_json
from tests.resources.sources.suite import NOBODY, Facts, Opened, SourceSuite, named, received, rows_of

FIRST, LAST = date(2020, 8, 24), date(2020, 9, 4)
NOW = datetime(2020, 9, 4, 22, tzinfo=UTC)
APPLE = named("AAPL.XNAS", "AAPL")
# The Nasdaq's prices of those days, before and after the company's 4:1 split of 2020-08-31, and its dividend of $0.82.
BARS = [
    (date(2020, 8, 5), 437.51, 441.57, 435.59, 440.25, 30_022_178.0),
    (date(2020, 8, 6), 441.62, 457.65, 439.19, 455.61, 47_852_178.0),
    (date(2020, 8, 7), 452.82, 454.70, 441.17, 444.45, 47_812_364.0),
    (date(2020, 8, 24), 514.79, 515.14, 495.745, 503.43, 82_100_000.0),
    (date(2020, 8, 25), 498.79, 500.7172, 492.21, 499.30, 52_000_000.0),
    (date(2020, 8, 26), 504.7165, 507.97, 500.33, 506.09, 40_000_000.0),
    (date(2020, 8, 27), 508.57, 509.94, 495.33, 500.04, 38_000_000.0),
    (date(2020, 8, 28), 504.05, 505.77, 498.31, 499.23, 46_907_479.0),
    (date(2020, 8, 31), 127.58, 131.00, 126.00, 129.04, 223_505_733.0),
    (date(2020, 9, 1), 132.76, 134.80, 130.53, 134.18, 151_000_000.0),
    (date(2020, 9, 2), 137.59, 137.98, 127.00, 131.40, 200_000_000.0),
    (date(2020, 9, 3), 126.91, 128.84, 120.50, 120.88, 257_000_000.0),
    (date(2020, 9, 4), 120.07, 123.70, 110.89, 120.96, 332_000_000.0),
]


@pytest.fixture
def chart() -> ChartServer:
    return ChartServer(BARS, splits=[(date(2020, 8, 31), 4, 1)], dividends=[(date(2020, 8, 7), 0.82)])


@pytest.fixture
def server(chart: ChartServer) -> Iterator[LocalServer]:
    with LocalServer(chart.answer, at=NOW).running() as local:
        yield local


@pytest.fixture
def opened(server: LocalServer) -> Opened:
    def of(*, at: datetime = NOW) -> HttpDailySource:
        settings = datasets.HttpDailySource(kind="http_daily", url=server.url + "/")
        return HttpDailySource(settings, calendar=open_calendar("XNYS"), start=date(2020, 8, 3), clock=lambda: at)

    return of


@pytest.fixture
def ask(opened: Opened) -> Callable[..., list[Delivery]]:
    def asked(*, first: date = FIRST, last: date = LAST, **changes: Any) -> list[Delivery]:
        return received(opened(**changes), APPLE, first=first, last=last)

    return asked


class TestHttpDaily(SourceSuite):
    @pytest.fixture
    def facts(self) -> Facts:
        return Facts(
            instruments=(APPLE,),
            first=FIRST,
            last=LAST,
            n_rows=10,
            never=date(2020, 8, 29),
            n_actions=2,
            midway=datetime(2020, 9, 4, 15, tzinfo=UTC),
            running=date(2020, 9, 4),
        )


def test_bars_are_the_raw_ones_on_both_sides_of_a_split(ask) -> None:
    rows = rows_of(ask())
    for row, (session, *values) in zip(rows.iter_rows(named=True), BARS[3:], strict=True):
        assert row["ts"].date() == session
        assert [row[name] for name in ("open", "high", "low", "close", "volume")] == pytest.approx(values, rel=1e-12)


def test_what_the_server_sends_of_them_is_not_raw(chart) -> None:
    # Yahoo's own page has 124.81 for the close of 2020-08-28.
    result = chart.document(0, 2**31)["chart"]["result"][0]
    assert round(result["indicators"]["quote"][0]["close"][7], 2) == 124.81


def test_a_later_split_changes_nothing_of_what_was_delivered_before(chart, ask) -> None:
    before = rows_of(ask(last=date(2020, 9, 2)))
    chart.splits = [*chart.splits, (date(2020, 9, 3), 2, 1)]
    chart.bars = [
        (day, *(p / 2 for p in prices), 2 * volume) if day >= date(2020, 9, 3) else (day, *prices, volume)
        for day, *prices, volume in chart.bars
    ]
    after = rows_of(ask(last=date(2020, 9, 2)))
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_allclose(after[name].to_numpy(), before[name].to_numpy(), rtol=1e-12)


def test_splits_and_dividends_are_stated_in_the_units_of_their_day(opened) -> None:
    actions = opened().corporate_actions([APPLE])
    assert actions.rows() == [
        ("AAPL.XNAS", date(2020, 8, 7), "dividend", 0.82),
        ("AAPL.XNAS", date(2020, 8, 31), "split", 4.0),
    ]


def test_actions_before_a_listing_are_another_companys(opened) -> None:
    listed = named("AAPL.XNAS", "AAPL", listed=date(2020, 8, 24))
    assert opened().corporate_actions([listed])["kind"].to_list() == ["split"]


def test_the_row_of_the_running_quote_is_left_out(chart, ask) -> None:
    whole = rows_of(ask())
    chart.running = (datetime(2020, 9, 4, 16, 0, 2, tzinfo=NEW_YORK), 121.0)
    assert rows_of(ask()).equals(whole)


def test_a_quote_of_a_session_that_is_not_over_is_no_bar(chart, server, ask) -> None:
    chart.bars = BARS[:-1]
    chart.running = (datetime(2020, 9, 4, 11, tzinfo=NEW_YORK), 121.0)
    server.at = datetime(2020, 9, 4, 15, tzinfo=UTC)
    assert rows_of(ask(at=server.at))["ts"].dt.date().max() == date(2020, 9, 3)


def test_a_server_whose_clock_is_slow_closes_no_session_early_and_is_told(server, ask) -> None:
    server.at = NOW - timedelta(hours=3)
    with pytest.raises(ClockDiffersError, match="session 2020-09-04 is not over"):
        ask()


def test_a_row_of_nulls_is_delivered_as_it_came(chart, server, ask) -> None:
    document = chart.document(0, 2**31)
    for values in document["chart"]["result"][0]["indicators"]["quote"][0].values():
        values[5] = None
    server.faults.append(as_json(document))
    rows = rows_of(ask())
    assert rows.height == 10
    assert rows.filter(pl.all_horizontal(pl.col("open", "high", "low", "close", "volume").is_null())).height == 1


def test_a_span_before_its_first_bar_is_empty(server, ask) -> None:
    said = {"code": "Bad Request", "description": "Data doesn't exist for startDate = 1, endDate = 2"}
    server.faults.append(as_json({"chart": {"result": None, "error": said}}, status=400))
    (delivery,) = ask()
    assert delivery.rows.is_empty()


def test_a_session_without_a_bar_is_not_made_up(chart, ask) -> None:
    chart.bars = [bar for bar in BARS if bar[0] != date(2020, 8, 26)]
    assert rows_of(ask()).height == 9


def test_a_name_it_does_not_know_is_refused(opened) -> None:
    with pytest.raises(UnknownInstrumentError, match=r"no instrument 'nosuch'.*its symbol"):
        received(opened(), NOBODY, first=FIRST, last=LAST)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        pytest.param(Reply("Too Many Requests", status=429), UnreachableSourceError, "429 Too Many Requests", id="429"),
        pytest.param(Reply("Edge: not now", status=503), UnreachableSourceError, "503", id="503"),
        pytest.param(HANG_UP, UnreachableSourceError, "RemoteProtocolError", id="the connection ends"),
        pytest.param(
            Reply('{"chart"', n_missing=9),
            UnreachableSourceError,
            "without sending complete",
            id="a body that ends early",
        ),
        pytest.param(Reply('{"chart": {"result"'), GarbledAnswerError, "expected JSON", id="JSON cut short"),
        pytest.param(
            Reply("<html><title>Before you continue</title></html>"),
            GarbledAnswerError,
            r"a web page \(Before you continue\)",
            id="a consent page",
        ),
    ],
)
class TestFaultsThatMayPass:
    def test_once_it_changes_nothing(self, server, ask, fault, error, said) -> None:  # noqa: ARG002
        whole = rows_of(ask())
        server.faults.append(fault)
        assert rows_of(ask()).equals(whole)

    def test_always_it_is_an_error(self, server, ask, fault, error, said) -> None:
        server.faults.extend([fault] * (ATTEMPTS + 1))
        with pytest.raises(error, match=said):
            ask()
        assert len(server.faults) == 1


def _changed(chart: ChartServer, *place: Any, to: Any) -> Reply:
    document = chart.document(0, 2**31)
    part: Any = document["chart"]["result"][0]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = to
    return as_json(document)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        pytest.param(
            Reply("", status=302, headers={"Location": "https://consent.example/form"}),
            RefusedBySourceError,
            "sends us on to consent.example",
            id="a redirect",
        ),
        pytest.param(
            as_json({"finance": {"error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}, status=401),
            RefusedBySourceError,
            "401, Unauthorized: Invalid Crumb",
            id="a crumb is wanted",
        ),
        pytest.param(Reply("<h1>Forbidden</h1>", status=403), RefusedBySourceError, "403", id="403 in HTML"),
        pytest.param(as_json({}), GarbledAnswerError, "expected a chart", id="an empty object"),
        pytest.param(as_json([1, 2]), GarbledAnswerError, "expected a chart", id="a list"),
        pytest.param(as_json({"chart": {"result": []}}), GarbledAnswerError, "without a result", id="no result"),
        pytest.param(("timestamp", [1]), GarbledAnswerError, "13 values of open", id="fewer stamps than values"),
        pytest.param(("timestamp", ["soon"]), GarbledAnswerError, "timestamp", id="a stamp that is a word"),
        pytest.param(
            ("timestamp", [1_598_832_000_000]), GarbledAnswerError, "timestamp.0 is '1598832000000'", id="milliseconds"
        ),
        pytest.param(
            ("events", {"dividends": {"1": {"date": 1_598_832_000_000, "amount": 1}}}),
            GarbledAnswerError,
            "date is '1598832000000'",
            id="a dividend in milliseconds",
        ),
        pytest.param(
            as_json({"finance": {"error": {"code": 401, "description": None}}}, status=200),
            GarbledAnswerError,
            "401, expected a chart",
            id="a code that is a number",
        ),
        pytest.param(
            as_json({"chart": {"error": {"code": 401}}}), GarbledAnswerError, "error.code", id="a chart's code as well"
        ),
        pytest.param(("meta", "dataGranularity", "3mo"), GarbledAnswerError, "bars of 3mo", id="longer bars"),
        pytest.param(
            ("meta", "exchangeTimezoneName", "Mars/Base"), GarbledAnswerError, "Mars/Base", id="a zone of nowhere"
        ),
        pytest.param(("indicators", "quote", []), GarbledAnswerError, "quote", id="no quote"),
    ],
)
def test_what_will_not_pass_is_not_asked_again(server, chart, ask, fault, error, said) -> None:
    server.faults.append(fault if isinstance(fault, Reply) else _changed(chart, *fault[:-1], to=fault[-1]))
    with pytest.raises(error, match=said):
        ask()
    assert len(server.asked) == 1


def test_an_error_names_the_address_without_what_was_asked(server, ask) -> None:
    server.faults.append(as_json([]))
    with pytest.raises(SourceError) as refused:
        ask()
    assert "/v8/finance/chart/AAPL" in str(refused.value)
    assert "period1" not in str(refused.value)


@forall(
    st.one_of(st.integers(1, 999_999).map(lambda cents: cents / 100), st.integers(1, 8_000_000).map(lambda n: n / 1e4)),
    st.sampled_from([1.0, 2.0, 4.0, 7.0, 28.0, 224.0, 1.5, 0.1]),
)
@checked(max_examples=100)
def test_a_price_is_told_from_the_single_it_was_sent_as_whatever_it_was_split_by(price: float, ratio: float) -> None:
    sent = float(np.float32(price / ratio))
    assert _as_meant(pl.Series([sent, None]), pl.Series([ratio, ratio])).to_list() == [price, None]


def test_a_double_that_is_no_single_is_multiplied_and_nothing_else() -> None:
    doubles = pl.Series([124.8075, 1e300, 0.0])
    assert _as_meant(doubles, pl.Series([4.0, 2.0, 3.0])).to_list() == [499.23, 2e300, 0.0]
