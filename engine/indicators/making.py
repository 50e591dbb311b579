"""How an indicator's column is made, and how long each kind of smoothing remembers.

Recursions are TA-Lib's, through polars-talib, which starts each from the mean of its first window.
Windows are polars': TA-Lib keeps one running sum over the whole series, so that a spike of 10,000
times the price, long gone from the window, still moved the seventh digit of its money flow index.
"""

from collections.abc import Callable
from math import ceil, log

import polars as pl

from engine.causal import Column, Setting, derived

FORGOTTEN = 1e-9  # the weight below which older data no longer count

Number = int | float


def made(
    name: str,
    function: Callable[..., pl.Expr],
    *columns: Column,
    lookback: int = 0,
    warm_up: int = 0,
    anchored: bool = False,
    **settings: Setting,
) -> Column:
    """The column `name` that `function` makes of the columns' expressions.

    Args:
        name: what a person calls it.
        function: from polars expressions to one that looks at each bar and at earlier ones.
        columns: what it is computed from.
        lookback: bars of theirs before the first value.
        warm_up: bars from the first value on until older data weigh less than 1e-9.
        anchored: whether a value depends on where the series starts, however long ago.
        settings: what it was made with.
    """
    return derived(
        function,
        *columns,
        name=name,
        settings=settings,
        lookback=lookback,
        warm_up=warm_up,
        shared=True,
        anchored=anchored,
    )


def talib(
    name: str,
    *columns: Column,
    lookback: int,
    warm_up: int = 0,
    output: str | None = None,
    anchored: bool = False,
    **settings: Setting,
) -> Column:
    """The column that TA-Lib's function `name` computes; `output` is one of several, as polars-talib calls them."""
    import polars_talib  # a shared library of 23 MB, and only this needs it

    function = getattr(polars_talib, name)

    def compute(*operands: pl.Expr) -> pl.Expr:
        values: pl.Expr = function(*operands, **settings)
        chosen = values if output is None else values.struct.field(output)
        return chosen.cast(pl.Float64).fill_nan(None)

    label = name if output is None else f"{name}.{output}"
    return made(label, compute, *columns, lookback=lookback, warm_up=warm_up, anchored=anchored, **settings)


def exponential(length: int) -> int:
    """The warm-up of an exponential mean with alpha = 2 / (length + 1)."""
    return bars_to_forget(2 / (length + 1))


def wilder(length: int) -> int:
    """The warm-up of Wilder's smoothing, alpha = 1 / length."""
    return bars_to_forget(1 / length)


def bars_to_forget(alpha: float) -> int:
    """The smallest n with (1 - alpha)^n < 1e-9."""
    return 1 if alpha >= 1 else ceil(log(FORGOTTEN) / log(1 - alpha))
