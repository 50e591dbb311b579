"""Made bars: a random walk from a seed, around the clock or in an exchange's sessions, with defects on demand.

1. A day has a level: 100, moved by one draw for every day since 1970. A session's first open is the
   level of the day before, its last close that of its own day.
2. In between its closes walk at random and are bent so that they end there (a Brownian bridge); every
   open is the close before it, highs and lows lie a draw outside of both.
3. Defects are drawn last, from a stream of their own, so that bars which are not hit stay what they are.

Every instrument has its own walk, and within it every session its own stream, so any span is the same
whatever else was asked for. Nothing is given of a session that is not over.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from hashlib import sha256

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import COLUMNS, PRICES
from quality import datasets
from resources.calendars import Calendar
from resources.clock import now
from resources.sources.protocol import ACTIONS, RECEIVED, Delivery, Instrument
from resources.sources.spans import pieces

N_DAYS = 366  # of a piece
LATE_AFTER = timedelta(days=1)
_EPOCH = date(1970, 1, 1)
_FIRST_LEVEL, _DAILY_MOVE = 100.0, 0.02
_RANGE, _TYPICAL_VOLUME = 0.5, 6.0  # in moves of one bar; the logarithm of units
_DIGITS = 6
_DEFECTS = tuple(datasets.Defects.model_fields)
_LEVELS, _STEPS, _HITS = range(3)  # streams

Floats = NDArray[np.float64]


class SyntheticSource:
    def __init__(
        self,
        settings: datasets.SyntheticSource,
        *,
        calendar: Calendar,
        timeframe: str,
        start: date,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._settings = settings
        self._calendar = calendar
        self._timeframe = timeframe
        self._start = start  # before it nothing was split
        self._clock = clock

    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        over = min(last, self._calendar.last_closed(self._clock()))
        for piece in pieces(instrument, first=first, last=over, n_days=N_DAYS):
            rows = RECEIVED.to_frame() if piece.name is None else self._rows(instrument.id, piece.first, piece.last)
            origin = f"synthetic, seed {self._settings.seed}: {instrument.id} {self._timeframe}"
            yield Delivery(instrument.id, rows, origin, piece.first, piece.last)

    def corporate_actions(self, instruments: Iterable[Instrument]) -> pl.DataFrame:  # noqa: ARG002 - there are none
        return ACTIONS.to_frame()

    def last_session(self) -> None:
        return None

    def settle(self) -> None:
        pass

    def _rows(self, instrument: str, first: date, last: date) -> pl.DataFrame:
        due = self._calendar.due(first, last, self._timeframe)
        if due.is_empty():
            return RECEIVED.to_frame()
        key = int.from_bytes(sha256(f"{self._settings.seed} {instrument}".encode()).digest()[:8], "little")
        sessions = due["session"].rle().struct.unnest()
        days = (sessions["value"] - _EPOCH).dt.total_days().to_list()
        bars = due.with_columns(**_walk(key, days, sessions["len"].to_list()))
        if any(share > 0 for share in self._settings.defects.model_dump().values()):
            bars = self._spoilt(bars, key, days, sessions["len"].to_list())
        return bars.with_row_index("line").match_to_schema(RECEIVED, extra_columns="ignore", integer_cast="upcast")

    def _spoilt(self, bars: pl.DataFrame, key: int, days: list[int], lengths: list[int]) -> pl.DataFrame:
        draws = [_stream(key, day, _HITS).random((n + 1, len(_DEFECTS))) for day, n in zip(days, lengths, strict=True)]
        shares = np.array([getattr(self._settings.defects, name) for name in _DEFECTS])
        hit = np.concatenate([draw[1:] for draw in draws]) < shares
        split_share = self._settings.defects.unadjusted_split
        n_splits = _n_splits(key, days, since=(self._start - _EPOCH).days, share=split_share)
        bars = bars.with_columns(
            *(pl.Series(name, hit[:, index]) for index, name in enumerate(_DEFECTS)),
            asked_late=pl.col("known_at").max().over("session") + LATE_AFTER < self._clock(),
            halvings=pl.Series(np.repeat(n_splits, lengths)),
        )
        return _sent(_changed(bars))


def _walk(key: int, days: list[int], lengths: list[int]) -> dict[str, Floats]:
    """The five columns of sessions that have `lengths` bars, on `days` since 1970."""
    moves = _stream(key, 0, _LEVELS).standard_normal(days[-1] + 1) * _DAILY_MOVE
    levels = np.concatenate([[0.0], np.cumsum(moves)])
    last = np.array(days)
    draws = [_stream(key, day, _STEPS).standard_normal((4, n)) for day, n in zip(days, lengths, strict=True)]
    steps, above, below, volumes = np.concatenate(draws, axis=1)

    n, ends = np.array(lengths), np.cumsum(lengths)
    scale = np.repeat(_DAILY_MOVE / np.sqrt(n), n)
    position = np.arange(1, ends[-1] + 1) - np.repeat(ends - n, n)
    walked = np.cumsum(steps * scale)
    walked -= np.repeat(np.concatenate([[0.0], walked[ends[:-1] - 1]]), n)
    missed = np.repeat(levels[last + 1] - levels[last] - walked[ends - 1], n)
    closes = np.repeat(levels[last], n) + walked + missed * position / np.repeat(n, n)
    opens = np.where(position == 1, np.repeat(levels[last], n), np.roll(closes, 1))

    highs = np.maximum(opens, closes) + np.abs(above) * scale * _RANGE
    lows = np.minimum(opens, closes) - np.abs(below) * scale * _RANGE
    prices = (np.round(_FIRST_LEVEL * np.exp(column), _DIGITS) for column in (opens, highs, lows, closes))
    return dict(zip(COLUMNS, (*prices, np.round(np.exp(_TYPICAL_VOLUME + volumes), _DIGITS)), strict=True))


def _n_splits(key: int, days: list[int], *, since: int, share: float) -> NDArray[np.int64]:
    """How often the instrument was split up to each of `days`, from the day `since` on."""
    if share == 0 or days[-1] < since:
        return np.zeros(len(days), dtype=np.int64)
    drawn = _stream(key, 0, _HITS).random(days[-1] + 1)
    drawn[: since + 1] = 1.0
    return np.cumsum(drawn < share, dtype=np.int64)[days]


def _changed(bars: pl.DataFrame) -> pl.DataFrame:
    """Values that are not what they were; at most one bar is made of each."""
    stale = pl.col("stale_run").cum_max().over("session")
    frozen = pl.when("stale_run").then("open").forward_fill().over("session")
    halved = 0.5 ** pl.col("halvings")
    return (
        bars.with_columns(*(pl.when(stale).then(frozen).otherwise(price).alias(price) for price in PRICES))
        .with_columns(
            *(pl.col(price) * halved for price in PRICES), volume=pl.when(stale).then(0.0).otherwise("volume")
        )
        .with_columns(*(pl.when("spike").then(pl.col(price) * 100).otherwise(price).alias(price) for price in PRICES))
        .with_columns(
            ts=pl.when("off_grid").then(pl.col("ts") + pl.duration(seconds=7)).otherwise("ts"),
            high=pl.when("high_below_body").then(pl.min_horizontal("open", "close") * 0.999).otherwise("high"),
            low=pl.when("low_above_body").then(pl.max_horizontal("open", "close") * 1.001).otherwise("low"),
            close=pl.when(pl.col("restated") & pl.col("asked_late"))
            .then((pl.col("high") + pl.col("low")) / 2)
            .otherwise("close"),
            volume=pl.when("negative_volume").then(-pl.col("volume") - 1).otherwise("volume"),
        )
        .with_columns(
            open=pl.when("non_positive_price").then(0.0).otherwise("open"),
            close=pl.when("null_price").then(None).otherwise("close"),
        )
    )


def _sent(bars: pl.DataFrame) -> pl.DataFrame:
    """The rows in the order they are sent: some not at all, some not yet, some twice, some after a later one."""
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    kept = bars.with_columns(place=2 * place + pl.when("disorder").then(3).otherwise(0)).filter(
        ~pl.col("missing"), ~pl.col("late") | pl.col("asked_late")
    )
    twice = kept.filter("identical_duplicate")
    other = kept.filter("conflicting_duplicate").with_columns(close=(pl.col("high") + pl.col("low")) / 2)
    return pl.concat([kept, twice, other.select(kept.columns)]).sort("place", maintain_order=True)


def _stream(key: int, day: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([key, day, purpose])
