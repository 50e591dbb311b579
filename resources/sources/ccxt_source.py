"""Exchanges as a source, through ccxt: one interface to the public bars of about a hundred of them.

Sessions are UTC days, as these exchanges never close. A long span comes in pieces of at least
thirty sessions, and each piece is asked for page by page:

1. A page is asked from just after the newest bar there is, so that bars off the grid are not
   jumped over; ccxt keeps to the exchange's own limits on how often.
2. A page without bars says that nothing was traded; it is asked for once more before it is
   believed, then the next one begins a page further on. A page that is not what was asked for (a web
   page, JSON cut short, the page before once more, rows of which none is of the time asked for) is no
   such page: it is asked for again and in the end refused.
3. A piece ends with the newest session that is over by the exchange's clock and by ours, so a bar that
   is still growing is never among its rows.

The order of rows within a page, and which of them have a readable time, is up to ccxt.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import polars as pl

from engine.bars import timeframe_us
from quality import datasets
from resources.clock import now
from resources.errors import (
    ClockDiffersError,
    GarbledAnswerError,
    NotOfferedError,
    RefusedBySourceError,
    UnknownInstrumentError,
    UnreachableSourceError,
)
from resources.http import (
    TIMEOUT_S,
    AskAgainError,
    earlier_clock,
    glimpse,
    patiently,
    retry_after,
    served_at,
)
from resources.sources.protocol import ACTIONS, RECEIVED, Delivery, Instrument
from resources.sources.spans import Piece, pieces

Answered = TypeVar("Answered")

FEWEST_SESSIONS, FEWEST_BARS = 30, 1_000  # of a piece, whichever is longer
_USUAL_LIMIT = 100  # bars of a page, where ccxt does not know
_DAY_MS = 86_400_000
_PARSING = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What ccxt raises of an answer in another shape than the exchange's."""


class _Rows(NamedTuple):
    rows: list[list[Any]]
    over_at: datetime  # what had closed by then had closed by both clocks


def exchanges() -> list[str]:
    """Every exchange that the installed ccxt knows; ccxt itself, which is slow to import, is not."""
    package = find_spec("ccxt")
    if package is None or package.origin is None:
        return []
    return sorted(file.stem for file in Path(package.origin).parent.glob("abstract/[a-z]*.py"))


class CcxtSource:
    def __init__(self, settings: datasets.CcxtSource, *, timeframe: str, clock: Callable[[], datetime] = now) -> None:
        self._settings = settings
        self._timeframe = timeframe
        self._clock = clock
        self._length_ms = timeframe_us(timeframe) // 1_000
        self._address = f"ccxt {settings.exchange}" + (f" at {settings.url}" if settings.url else "")

    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        n_days = max(FEWEST_SESSIONS, -(-FEWEST_BARS * self._length_ms // _DAY_MS))
        for piece in pieces(instrument, first=first, last=last, n_days=n_days):
            if piece.name is None:
                yield self._delivery(instrument, piece, [])
                continue
            got = self._bars(self._known(piece.name), piece)
            last_over = min(piece.last, (got.over_at - timedelta(days=1)).date())
            if piece.first <= last_over:
                yield self._delivery(instrument, piece._replace(last=last_over), got.rows)
            if last_over < piece.last:
                self._require_agreement(last_over + timedelta(days=1), got.over_at)
                return

    def corporate_actions(self, instruments: Iterable[Instrument]) -> pl.DataFrame:  # noqa: ARG002 - there are none
        return ACTIONS.to_frame()

    def last_session(self) -> None:
        return None

    def settle(self) -> None:
        pass

    def _delivery(self, instrument: Instrument, piece: Piece, bars: list[list[Any]]) -> Delivery:
        begin, end = _midnight_ms(piece.first), _midnight_ms(piece.last + timedelta(days=1))
        kept = [[line, *bar[:6]] for line, bar in enumerate(bar for bar in bars if begin <= bar[0] < end)]
        rows = pl.DataFrame(kept, schema={**RECEIVED, "ts": pl.Int64()}, orient="row", infer_schema_length=None)
        rows = rows.with_columns(pl.from_epoch("ts", "ms").cast(RECEIVED["ts"]))
        asked = piece.name or instrument.id
        origin = f"{self._address}: {self._settings.market_type} {asked} {self._timeframe}"
        return Delivery(instrument.id, rows, origin, piece.first, piece.last)

    def _bars(self, market: Mapping[str, Any], piece: Piece) -> _Rows:
        since, end = _midnight_ms(piece.first), _midnight_ms(piece.last + timedelta(days=1))
        limit = self._exchange.feature_value(market["symbol"], "fetchOHLCV", "limit", None)
        rows: list[list[Any]] = []
        over_at, previous = None, None
        for _ in range((end - since) // self._length_ms + 1):
            page, body = self._page(market, since, limit, previous)
            if not page:
                page, body = self._page(market, since, limit, previous)
            over_at = over_at or earlier_clock(served_at(self._headers()), self._clock(), address=self._address)
            rows += page
            previous = body if page else None
            since = max(bar[0] for bar in page) + 1 if page else since + (limit or _USUAL_LIMIT) * self._length_ms
            if since >= end:
                return _Rows(rows, over_at)
        raise GarbledAnswerError(self._address, "ever more pages", "at most as many as there are bars")

    def _page(
        self, market: Mapping[str, Any], since: int, limit: int | None, previous: str | None
    ) -> tuple[list[list[Any]], str]:
        """The bars from `since` on and the text they came in; `previous` is that of the page before."""

        def ask() -> tuple[list[list[Any]], str]:
            page = self._exchange.fetch_ohlcv(market["symbol"], self._timeframe, since, limit)
            body, answer = self._exchange.last_http_response, self._exchange.last_json_response
            if body == previous or (not page and _holds_rows(answer)):
                seen = "the page before" if body == previous else f"no bar in {glimpse(body)}"
                raise AskAgainError(GarbledAnswerError(self._address, seen, f"bars from {_shown(since)} on, or none"))
            return page, body

        return self._patiently(ask)

    def _known(self, name: str) -> Mapping[str, Any]:
        import ccxt  # type: ignore[import-untyped]  # not typed, and half a second to import

        markets = self._patiently(self._exchange.load_markets)
        wanted = self._settings.market_type
        try:
            market: Mapping[str, Any] = self._exchange.market(name)
        except ccxt.BaseError:
            market = {"type": None}
        if market["type"] != wanted:
            held = [one for one, described in markets.items() if described["type"] == wanted]
            raise UnknownInstrumentError(name, f"{self._address} ({wanted})", held)
        return market

    def _patiently(self, call: Callable[[], Answered]) -> Answered:
        import ccxt

        def once() -> Answered:
            self._exchange.last_response_headers = None
            try:
                return call()
            except ccxt.BadResponse as error:
                raise AskAgainError(GarbledAnswerError(self._address, str(error), "bars in JSON")) from error
            except ccxt.OperationFailed as error:
                seen = UnreachableSourceError(self._address, f"{type(error).__name__}, {glimpse(str(error))}")
                raise AskAgainError(seen, after=retry_after(self._headers(), self._clock())) from error
            except ccxt.BaseError as error:
                raise RefusedBySourceError(self._address, f"{type(error).__name__}, {glimpse(str(error))}") from error
            except _PARSING as error:
                body = self._exchange.last_http_response or ""
                raise AskAgainError(GarbledAnswerError(self._address, glimpse(body), "bars")) from error

        return patiently(once)

    def _headers(self) -> Mapping[str, str]:
        return self._exchange.last_response_headers or {}

    def _require_agreement(self, session: date, over_at: datetime) -> None:
        """A session that nobody thinks is over is simply not there yet; one that only we think is, is an error."""
        here = self._clock()
        if _midnight_ms(session + timedelta(days=1)) <= here.timestamp() * 1_000:
            raise ClockDiffersError(self._address, session, there=over_at, here=here)

    @cached_property
    def _exchange(self) -> Any:  # ccxt's classes are not typed
        return _connect(self._settings, self._timeframe)


def _connect(settings: datasets.CcxtSource, timeframe: str) -> Any:
    import ccxt

    name = settings.exchange
    if name not in ccxt.exchanges:
        raise NotOfferedError("ccxt", f"exchange {name!r}", get_close_matches(name, ccxt.exchanges) or ccxt.exchanges)
    exchange = getattr(ccxt, name)(
        {
            "timeout": int(TIMEOUT_S * 1_000),
            "enableRateLimit": True,
            "enableLastJsonResponse": True,
            "requests_trust_env": True,
            "options": {"defaultType": settings.market_type},
        }
    )
    if exchange.has["fetchOHLCV"] is not True:
        raise NotOfferedError(name, "bars", [])
    if timeframe not in (exchange.timeframes or {}):
        raise NotOfferedError(name, f"bars of {timeframe}", exchange.timeframes or [])
    if settings.url:
        exchange.urls["api"] = _moved(exchange.urls["api"], settings.url.rstrip("/"))
    exchange.fetch = _only_json(exchange.fetch)
    return exchange


def _only_json(fetch: Callable[..., Any]) -> Callable[..., Any]:
    """ccxt hands on the text of what it could not read as JSON, which most of its parsers take for no bars."""
    import ccxt

    def checked(*arguments: Any, **named: Any) -> Any:
        answer = fetch(*arguments, **named)
        if isinstance(answer, str | bytes) or answer == {}:
            raise ccxt.BadResponse(glimpse(answer if isinstance(answer, str) else str(answer)))
        return answer

    return checked


def _moved(addresses: Any, url: str) -> Any:
    """The addresses of an exchange, however ccxt nests them, each under `url` with its own path."""
    if isinstance(addresses, str):
        return url + urlsplit(addresses).path
    return {name: _moved(one, url) for name, one in addresses.items()}


def _holds_rows(answer: Any) -> bool:
    """Whether something is there where rows would be, of which ccxt then left none; names of columns are none."""
    if isinstance(answer, dict):
        return any(_holds_rows(part) for part in answer.values() if not isinstance(part, list) or _unlike_names(part))
    return isinstance(answer, list) and bool(answer)


def _unlike_names(part: list[Any]) -> bool:
    return not all(isinstance(one, str) for one in part)


def _midnight_ms(session: date) -> int:
    return int(datetime.combine(session, time(), tzinfo=UTC).timestamp()) * 1_000


def _shown(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1_000, tz=UTC):%Y-%m-%d %H:%M} UTC"
