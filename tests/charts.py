"""Charts drawn by hand: one tuple of open, high, low and close a bar, an hour each, traded like any other bars."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from engine.causal import Bars, Column
from engine.evaluation import evaluate
from tests.bar_frames import bar_frame

HOURS = Bars("1h")
HOUR = timedelta(hours=1)
Bar = tuple[float, float, float, float]


def chart(bars: Iterable[Bar]) -> pl.DataFrame:
    rows = [tuple(map(float, bar)) for bar in bars]
    drawn = pl.DataFrame(rows, schema=["open", "high", "low", "close"], orient="row")
    return bar_frame(drawn["close"].to_list(), step=HOUR).with_columns(drawn)


def ranges(*pairs: tuple[float, float]) -> list[Bar]:
    """Bars of which only high and low matter: they open low and close high."""
    return [(low, high, low, high) for high, low in pairs]


def seen(columns: Mapping[str, Column], frame: pl.DataFrame) -> dict[str, list[Any]]:
    """Values by name; a truth that is not known is not true."""
    values = evaluate(columns, {"1h": frame}, "1h").drop("ts", "known_at")
    return values.with_columns(pl.col(pl.Boolean).fill_null(value=False)).to_dict(as_series=False)


def bars_where(truths: Sequence[bool]) -> list[int]:
    return [n for n, truth in enumerate(truths) if truth]


@st.composite
def drawn(draw: st.DrawFn, *, most: int = 60) -> list[Bar]:
    """Charts of few prices, so that they meet, tie and break all the time."""
    price = st.integers(1, 12)
    bars = draw(st.lists(st.tuples(price, price, price, price), min_size=1, max_size=most))
    return [(opened, max(bar), min(bar), closed) for bar in bars for opened, _, _, closed in [bar]]
