"""The one door to the network.

1. A question has a time limit and is never carried elsewhere: a redirect is an answer too, from
   somebody else.
2. An answer is read up to a size, counted after decompression, and not beyond.
3. What may go better next time is asked again, later and later, a bounded number of times: no
   connection, 429, 5xx, an answer that is cut short or no JSON. A server that says when to come back
   is believed, unless that is longer than a night should wait. Only stamina waits, and only here.
4. What is still wrong then is a SourceError.

ccxt brings a transport of its own, without (1) and (2); its source asks through `patiently`, which is (3).
Proxies are those of the environment, as in every program that asks over HTTP.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from html import unescape
from re import IGNORECASE, search
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from resources.clock import now
from resources.errors import GarbledAnswerError, RefusedBySourceError, SourceError, UnreachableSourceError

if TYPE_CHECKING:
    import httpx
    from stamina.instrumentation import RetryDetails

Answered = TypeVar("Answered")

ATTEMPTS = 6
LONGEST_WAIT_S = 300.0  # that a server may ask for
CLOCKS_DIFFER_S = 60.0
MOST_BYTES = 64 * 2**20
TIMEOUT_S = 30.0  # between two bytes; an answer as a whole may take four times as long
_AGENT = "Mozilla/5.0 (compatible; Gauntlet; market data once a night)"
_GLIMPSE = 120
_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What a server said; 200, or a refusal that it put into JSON."""

    status: int
    document: Any
    served_at: datetime | None  # by the server's own clock


class AskAgainError(Exception):
    """Raised by what `patiently` calls: it went wrong with `error`, and may go better `after` so many seconds."""

    def __init__(self, error: SourceError, *, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


def patiently(call: Callable[[], Answered]) -> Answered:
    """`call` again while it raises AskAgainError, a bounded number of times; raises the SourceError of the last."""
    import stamina

    stamina.instrumentation.set_on_retry_hooks([_tell])  # its own hook may write to standard output
    try:
        for attempt in stamina.retry_context(
            on=wait_before_next, attempts=ATTEMPTS, timeout=None, wait_initial=1.0, wait_max=60.0
        ):
            with attempt:
                return call()
    except AskAgainError as again:
        raise again.error from again
    raise AssertionError  # a call either returns or raises


def wait_before_next(error: Exception) -> bool | float:
    """Whether to ask again after `error`, and after how many seconds where the server has said so."""
    if not isinstance(error, AskAgainError):
        return False
    if error.after is None:
        return True
    return error.after if error.after <= LONGEST_WAIT_S else False


def get_json(url: str, parameters: Mapping[str, str | int], *, most_bytes: int = MOST_BYTES) -> Answer:
    """Ask `url`, named in errors without its parameters. Raises SourceError."""
    return patiently(lambda: _ask(url, parameters, most_bytes))


def retry_after(headers: Mapping[str, str], at: datetime) -> float | None:
    """Seconds until a server wants to be asked again, from its Retry-After; None where it says nothing readable."""
    said = headers.get("Retry-After", "")
    if said.strip().isdigit():
        return float(said)
    moment = _moment(said)
    return max((moment - at).total_seconds(), 0.0) if moment else None


def served_at(headers: Mapping[str, str]) -> datetime | None:
    """What the server's clock showed, from its Date; None where it says nothing readable."""
    return _moment(headers.get("Date", ""))


def earlier_clock(there: datetime | None, here: datetime, *, address: str) -> datetime:
    """The earlier of the server's clock and ours, so that neither can close a bar too soon; a difference is told."""
    if there is None:
        return here
    seconds = (there - here).total_seconds()
    if abs(seconds) > CLOCKS_DIFFER_S:
        _log.warning("clock_differs source=%s seconds=%+.0f", address, seconds)
    return min(there, here)


def glimpse(text: str) -> str:
    """The beginning of something that was not expected, in one line; of a web page its title."""
    if text.lstrip().startswith("<"):
        title = search(r"<title[^>]*>(.*?)</title>", text, flags=IGNORECASE)
        return "a web page" + (f" ({unescape(title[1]).strip()[:_GLIMPSE]})" if title else "")
    line = " ".join(text.split())
    return repr(line[:_GLIMPSE]) if line else "nothing"


def _tell(details: "RetryDetails") -> None:
    _log.warning("asks_again attempt=%d wait_s=%.1f why=%s", details.retry_num, details.wait_for, details.caused_by)


def _ask(url: str, parameters: Mapping[str, str | int], most_bytes: int) -> Answer:
    import httpx

    try:
        with _client().stream("GET", url, params=dict(parameters)) as response:
            body = b"".join(_limited(response, url, most_bytes))
            return _answer(url, response, body.decode("utf-8", errors="replace"))
    except httpx.DecodingError as error:
        raise AskAgainError(GarbledAnswerError(url, f"a body that does not unpack ({error})", "JSON")) from error
    except httpx.HTTPError as error:
        raise AskAgainError(UnreachableSourceError(url, f"{type(error).__name__}: {error}".rstrip(": "))) from error


@cache
def _client() -> "httpx.Client":
    """One for all, as reading the certificates takes longer than asking; it keeps no connection open."""
    import httpx

    return httpx.Client(
        timeout=TIMEOUT_S,
        follow_redirects=False,
        headers={"User-Agent": _AGENT, "Accept-Encoding": "gzip, deflate"},
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def _limited(response: "httpx.Response", url: str, most_bytes: int) -> Iterator[bytes]:
    n_bytes, deadline = 0, monotonic() + 4 * TIMEOUT_S
    for chunk in response.iter_bytes():
        n_bytes += len(chunk)
        if n_bytes > most_bytes:
            raise GarbledAnswerError(url, f"more than {most_bytes:,} bytes", "no more than that")
        if monotonic() > deadline:
            raise AskAgainError(UnreachableSourceError(url, f"no whole answer within {4 * TIMEOUT_S:.0f} s"))
        yield chunk


def _answer(url: str, response: "httpx.Response", text: str) -> Answer:
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.is_redirect:
        host = urlsplit(response.headers.get("Location", "")).netloc or "another page"
        raise RefusedBySourceError(url, f"it sends us on to {host} ({status})")
    if response.status_code == 429 or response.is_server_error:
        error = UnreachableSourceError(url, f"{status}, {glimpse(text)}")
        raise AskAgainError(error, after=retry_after(response.headers, now()))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        if response.is_client_error:
            raise RefusedBySourceError(url, f"{status}, {glimpse(text)}") from error
        raise AskAgainError(GarbledAnswerError(url, glimpse(text), "JSON")) from error
    return Answer(response.status_code, document, served_at(response.headers))


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
