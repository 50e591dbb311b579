"""Daily bars, splits and dividends over HTTP, from a server that answers as Yahoo's chart (v8) does.

That server rewrites its past at every split: prices and dividends before one are divided by it, volumes
multiplied. What is delivered is raw, so that a stored bar stays what it was:

1. Asked are the sessions wanted and all since, because every split since then has been applied to them.
2. Bars before the ex-date of a split are multiplied by it, their volumes divided; dividends are multiplied.
3. A price comes as a single widened to a double (129.0399932861328). What was meant is the shortest decimal
   that stands for it (129.04), or of one that a split was taken from, the seven digits that a single
   carries: so a stored price stays what it was through splits to come.
4. Nothing is taken of a session that is not over by the server's clock and by ours. The row of the
   running quote, which the server puts behind the session's own, is left out.

A row of nulls is delivered as it came. Sessions are dates on the venue's clock.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from operator import mul
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.bars import COLUMNS, PRICES
from quality import datasets
from resources.calendars import Calendar
from resources.clock import now
from resources.errors import ClockDiffersError, GarbledAnswerError, RefusedBySourceError, UnknownInstrumentError
from resources.http import Answer, earlier_clock, get_json
from resources.sources.protocol import ACTIONS, RECEIVED, Delivery, Instrument
from resources.sources.spans import Piece, pieces

_DAY = timedelta(days=1)
_SINGLE_DIGITS = 7
_EVER = 100_000  # days: one question gives a whole life
_NOT_FOUND = "Not Found"
_SAID = 120
_Stamp = Annotated[int, Field(ge=-5_364_662_400, lt=7_289_654_400)]  # seconds, of the years 1800 to 2200
_BEFORE_ITS_TIME = "Data doesn't exist for startDate"


class _Part(BaseModel):
    """A part of the answer; the server adds keys as it likes."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Split(_Part):
    date: _Stamp
    numerator: float = Field(gt=0)
    denominator: float = Field(gt=0)


class _Dividend(_Part):
    date: _Stamp
    amount: float


class _Events(_Part):
    splits: dict[str, _Split] = {}
    dividends: dict[str, _Dividend] = {}


class _Quote(_Part):
    open: list[float | None] = []
    high: list[float | None] = []
    low: list[float | None] = []
    close: list[float | None] = []
    volume: list[float | None] = []


class _Indicators(_Part):
    quote: list[_Quote] = Field(min_length=1)


class _Meta(_Part):
    zone: str = Field(alias="exchangeTimezoneName")
    granularity: str = Field(alias="dataGranularity")
    quoted_at: int | None = Field(alias="regularMarketTime", default=None)


class _Result(_Part):
    meta: _Meta
    timestamp: list[_Stamp] = []
    events: _Events = _Events()
    indicators: _Indicators


class _Refusal(_Part):
    code: str = ""
    description: str | None = None


class _Chart(_Part):
    result: list[_Result] | None = None
    error: _Refusal | None = None


class _History(NamedTuple):
    """What one name has had since a day, raw."""

    bars: pl.DataFrame  # session and the columns of a bar, in the order they came
    actions: pl.DataFrame  # ex_date kind value
    over_at: datetime  # what had closed by then had closed by both clocks


class HttpDailySource:
    def __init__(
        self,
        settings: datasets.HttpDailySource,
        *,
        calendar: Calendar,
        start: date,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._url = settings.url.rstrip("/")
        self._calendar = calendar
        self._start = start
        self._clock = clock

    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        for piece in pieces(instrument, first=first, last=last, n_days=_EVER):
            if piece.name is None:
                yield Delivery(instrument.id, RECEIVED.to_frame(), self._origin(instrument.id), piece.first, piece.last)
                continue
            history = self._history(piece.name, since=piece.first)
            last_over = min(piece.last, self._calendar.last_closed(history.over_at))
            if piece.first <= last_over:
                yield self._delivery(instrument, piece._replace(last=last_over), history.bars)
            if self._calendar.sessions(last_over + _DAY, piece.last):
                self._require_agreement(piece, last_over, history.over_at)
                return

    def corporate_actions(self, instruments: Iterable[Instrument]) -> pl.DataFrame:
        today = self._clock().date()
        stated = [
            self._history(name, since=first)
            .actions.filter(pl.col("ex_date").is_between(first, last))
            .with_columns(instrument=pl.lit(instrument.id))
            for instrument in instruments
            for name, first, last in instrument.asked_as(self._start, today)
        ]
        return pl.concat([ACTIONS.to_frame(), *(one.select(ACTIONS.names()) for one in stated)]).sort(
            "instrument", "ex_date", "kind"
        )

    def last_session(self) -> None:
        return None

    def settle(self) -> None:
        pass

    def _origin(self, name: str) -> str:
        return f"{self._url}/v8/finance/chart/{quote(name, safe='')}"

    def _delivery(self, instrument: Instrument, piece: Piece, bars: pl.DataFrame) -> Delivery:
        rows = (
            bars.filter(pl.col("session").is_between(piece.first, piece.last))
            .with_row_index("line")
            .select(pl.col("line").cast(pl.Int64), pl.col("session").cast(RECEIVED["ts"]).alias("ts"), *COLUMNS)
        )
        return Delivery(instrument.id, rows, self._origin(piece.name or instrument.id), piece.first, piece.last)

    def _history(self, name: str, *, since: date) -> _History:
        url = self._origin(name)
        asked_at = self._clock()
        # A day more at both ends: the venue's midnight may be half a day from ours, and the answer is cut to sessions.
        begin, end = _midnight(since) - _DAY, asked_at + _DAY
        span = {"period1": int(begin.timestamp()), "period2": int(end.timestamp())}
        answer = get_json(url, {**span, "interval": "1d", "events": "div,splits"})
        over_at = earlier_clock(answer.served_at, asked_at, address=url)
        result = _read(answer, name=name, url=url)
        if result is None:
            return _History(_no_bars(), ACTIONS.to_frame().drop("instrument"), over_at)
        zone = _zone(result.meta.zone, url)
        splits = sorted(
            (_session(one.date, zone), one.numerator / one.denominator) for one in result.events.splits.values()
        )
        return _History(_raw_bars(result, splits, zone, url), _raw_actions(result, splits, zone), over_at)

    def _require_agreement(self, piece: Piece, last_over: date, over_at: datetime) -> None:
        """A session that nobody thinks is over is simply not there yet; one that only we think is, is an error."""
        here = self._clock()
        session = self._calendar.sessions(last_over + _DAY, piece.last)[0]
        if self._calendar.session_close(session) <= here:
            raise ClockDiffersError(self._url, session, there=over_at, here=here)


def _read(answer: Answer, *, name: str, url: str) -> _Result | None:
    """The one result of an answer, or None where there are no bars since the day that was asked for."""
    document = answer.document
    if not isinstance(document, dict) or not isinstance(document.get("chart"), dict):
        if answer.status >= 400:
            raise RefusedBySourceError(url, f"{answer.status}, {_said(document)}")
        raise GarbledAnswerError(url, _said(document), "a chart")
    try:
        chart = _Chart.model_validate(document["chart"])
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(str(key) for key in detail["loc"])
        raise GarbledAnswerError(
            url, f"a chart whose {place} is {str(detail['input'])[:40]!r}", detail["msg"]
        ) from error
    if chart.error is not None:
        description = chart.error.description or ""
        if chart.error.code == _NOT_FOUND:
            raise UnknownInstrumentError(name, url, [])
        if description.startswith(_BEFORE_ITS_TIME):
            return None
        raise RefusedBySourceError(url, f"{answer.status}, {chart.error.code}: {description}")
    if not chart.result:
        raise GarbledAnswerError(url, "a chart without a result", "bars, or an error that says why not")
    result = chart.result[0]
    if result.meta.granularity != "1d":
        raise GarbledAnswerError(url, f"bars of {result.meta.granularity}", "bars of 1d")
    return result


def _raw_bars(result: _Result, splits: list[tuple[date, float]], zone: ZoneInfo, url: str) -> pl.DataFrame:
    columns = {column: getattr(result.indicators.quote[0], column) for column in COLUMNS}
    stamps = result.timestamp
    for column, values in columns.items():
        if len(values) != len(stamps):
            raise GarbledAnswerError(url, f"{len(values)} values of {column}", f"one for each of {len(stamps)} stamps")
    sessions = [_session(stamp, zone) for stamp in stamps]
    bars = pl.DataFrame({"session": sessions, **columns}, schema=_no_bars().schema)
    if len(stamps) > 1 and stamps[-1] == result.meta.quoted_at and sessions[-1] == sessions[-2]:
        bars = bars.head(-1)
    ratios = bars.select(_ratio(splits, pl.col("session"))).to_series()
    return bars.with_columns(*(_as_meant(bars[price], ratios) for price in PRICES), bars["volume"] / ratios)


def _raw_actions(result: _Result, splits: list[tuple[date, float]], zone: ZoneInfo) -> pl.DataFrame:
    schema = {name: dtype for name, dtype in ACTIONS.items() if name != "instrument"}
    paid = [(_session(one.date, zone), "dividend", one.amount) for one in result.events.dividends.values()]
    dividends = pl.DataFrame(paid, schema=schema, orient="row")
    dividends = dividends.with_columns(pl.col("value") * _ratio(splits, pl.col("ex_date")))
    made = pl.DataFrame([(day, "split", ratio) for day, ratio in splits], schema=schema, orient="row")
    return pl.concat([dividends, made])


def _ratio(splits: list[tuple[date, float]], session: pl.Expr) -> pl.Expr:
    """New units per unit of a session: the product of all splits after it."""
    later = [pl.when(session < day).then(ratio).otherwise(1.0) for day, ratio in splits]
    return reduce(mul, later, pl.when(session.is_not_null()).then(1.0))


def _as_meant(prices: pl.Series, ratios: pl.Series) -> pl.Series:
    """Raw prices from adjusted ones: singles that were widened as what they stand for, doubles times the ratio."""
    doubles, times = prices.to_numpy(), ratios.to_numpy()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        singles = doubles.astype(np.float32)
        raw = doubles * times
        scale = 10.0 ** (_SINGLE_DIGITS - 1 - np.floor(np.log10(np.abs(raw))))
        rounded = np.round(raw * scale) / scale
    shortest = singles.astype(str).astype(np.float64)
    meant = np.where(times == 1, shortest, np.where(raw == 0, raw, rounded))
    return pl.Series(prices.name, np.where(singles == doubles, meant, raw)).set(prices.is_null(), None)


def _session(stamp: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(stamp, tz=zone).date()


def _zone(name: str, url: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise GarbledAnswerError(url, f"the time zone {name[:40]!r}", "one such as America/New_York") from error


def _no_bars() -> pl.DataFrame:
    return pl.DataFrame(schema={"session": pl.Date(), **dict.fromkeys(COLUMNS, pl.Float64())})


def _midnight(session: date) -> datetime:
    return datetime.combine(session, time(), tzinfo=UTC)


def _said(document: Any) -> str:
    """What another kind of document has to say for itself."""
    if isinstance(document, dict):
        for part in document.values():
            if isinstance(part, dict) and isinstance(part.get("error"), dict):
                said = part["error"]
                return f"{said.get('code', '')}: {said.get('description') or ''}".rstrip(": ")[:_SAID]
    return f"{str(document)[:80]!r}"
