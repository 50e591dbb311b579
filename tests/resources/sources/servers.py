"""Real HTTP servers on 127.0.0.1 that answer as an exchange and as a chart server do, and misbehave when told to."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import numpy as np

NEW_YORK = ZoneInfo("America/New_York")
Kline = list[Any]


class Asked(NamedTuple):
    path: str
    query: Mapping[str, str]


class Reply(NamedTuple):
    body: str | bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {"Content-Type": "application/json"}
    n_missing: int = 0  # bytes that are promised and never come


HANG_UP = Reply(status=0)  # the connection ends without a word


class LocalServer:
    """Answers with `answers`, but first with the replies that wait in `faults`, one for each question it is asked."""

    def __init__(self, answers: Callable[[Asked], Reply], *, at: datetime) -> None:
        self.restart(answers, at=at)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def restart(self, answers: Callable[[Asked], Reply], *, at: datetime) -> None:
        """As new, at the same address."""
        self.at = at  # what its Date says
        self.asked: list[Asked] = []
        self.faults: deque[Reply] = deque()
        self._answers = answers

    @contextmanager
    def running(self) -> Iterator["LocalServer"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _reply(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        if self.faults:
            return self.faults.popleft()
        return self._answers(asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                reply = server._reply(Asked(parts.path, dict(parse_qsl(parts.query))))
                if reply.status:
                    body = reply.body.encode() if isinstance(reply.body, str) else reply.body
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body) + reply.n_missing))
                    self.end_headers()
                    self.wfile.write(body)

            def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 - its clock is set
                return format_datetime(server.at, usegmt=True)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


class Exchange:
    """Klines as Binance's spot exchange gives them: at most `page` rows that open at `startTime` or later."""

    STEP_MS = 3_600_000

    def __init__(self, *, first: date, end: datetime, page: int = 1_000) -> None:
        self.page = page
        self.fails_after: int | None = None  # so many pages of klines it hangs up, for good
        opens = range(_ms(datetime.combine(first, time(), tzinfo=UTC)), _ms(end), self.STEP_MS)
        self.klines = {"BTCUSDT": [_kline(ms, self.STEP_MS) for ms in opens]}
        self.klines["ETHUSDT"] = self.klines["BTCUSDT"][::2]

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/api/v3/exchangeInfo":
            return as_json({"symbols": [_spot("BTC", "USDT"), _spot("ETH", "USDT")]})
        if asked.path.endswith("/exchangeInfo"):
            return as_json({"symbols": []})
        if asked.path != "/api/v3/klines":
            return as_json({"code": -1, "msg": "no such page"}, status=404)
        if self.fails_after is not None:
            self.fails_after -= 1
            if self.fails_after < 0:
                return HANG_UP
        rows = [row for row in self.klines[asked.query["symbol"]] if row[0] >= int(asked.query["startTime"])]
        return as_json(rows[: min(self.page, int(asked.query["limit"]))])


class ChartServer:
    """Yahoo's chart: prices split-adjusted backwards and sent as widened singles, made here from raw bars.

    `bars` are raw: (session, open, high, low, close, volume), `splits` (ex-date, new units, old units), `dividends`
    raw cash by ex-date.
    """

    def __init__(
        self,
        bars: Sequence[tuple[date, float, float, float, float, float]],
        *,
        splits: Sequence[tuple[date, int, int]] = (),
        dividends: Sequence[tuple[date, float]] = (),
    ) -> None:
        self.bars, self.splits, self.dividends = bars, splits, dividends
        self.running: tuple[datetime, float] | None = None  # the quote of a session that is not over: when, and what

    def answer(self, asked: Asked) -> Reply:
        if asked.path != "/v8/finance/chart/AAPL":
            said = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return as_json({"chart": {"result": None, "error": said}}, status=404)
        return as_json(self.document(int(asked.query["period1"]), int(asked.query["period2"])))

    def document(self, begin: int, end: int) -> dict[str, Any]:
        held = [bar for bar in self.bars if begin <= _opened(bar[0]) < end]
        stamps = [_opened(bar[0]) for bar in held]
        ratios = [self._ratio(bar[0]) for bar in held]
        columns = {
            name: [_single(bar[place] / ratio) for bar, ratio in zip(held, ratios, strict=True)]
            for place, name in enumerate(("open", "high", "low", "close"), start=1)
        }
        columns["volume"] = [round(bar[5] * ratio) for bar, ratio in zip(held, ratios, strict=True)]
        quoted_at = stamps[-1] if stamps else None
        if self.running:
            quoted_at = int(self.running[0].timestamp())
            stamps.append(quoted_at)
            for name, values in columns.items():
                values.append(1.0 if name == "volume" else _single(self.running[1]))
        events = {
            "splits": {
                str(_opened(day)): {"date": _opened(day), "numerator": new, "denominator": old}
                for day, new, old in self.splits
            },
            "dividends": {
                str(_opened(day)): {"date": _opened(day), "amount": cash / self._ratio(day)}
                for day, cash in self.dividends
            },
        }
        meta = {"exchangeTimezoneName": "America/New_York", "dataGranularity": "1d", "regularMarketTime": quoted_at}
        result = {"meta": meta, "timestamp": stamps, "events": events, "indicators": {"quote": [columns]}}
        return {"chart": {"result": [result], "error": None}}

    def _ratio(self, session: date) -> float:
        return float(np.prod([new / old for day, new, old in self.splits if session < day]))


def as_json(document: object, *, status: int = 200) -> Reply:
    return Reply(json.dumps(document), status=status)


def price_at(ms: int) -> float:
    """The close that a made kline has."""
    return 100.0 + ms // Exchange.STEP_MS % 97


def _kline(ms: int, step: int) -> Kline:
    close = price_at(ms)
    prices = (f"{close - 1:.8f}", f"{close + 2:.8f}", f"{close - 2:.8f}", f"{close:.8f}", "5.00000000")
    return [ms, *prices, ms + step - 1, "500.0", 10, "2.5", "250.0", "0"]


def _spot(base: str, quote: str) -> dict[str, Any]:
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "isSpotTradingAllowed": True,
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "orderTypes": ["LIMIT"],
        "filters": [],
    }


def _single(price: float) -> float:
    return float(np.float32(price))


def _opened(session: date) -> int:
    return int(datetime.combine(session, time(9, 30), tzinfo=NEW_YORK).timestamp())


def _ms(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, tz=UTC)) // timedelta(milliseconds=1)
