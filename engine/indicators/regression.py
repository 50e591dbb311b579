"""Straight lines through the last values, by least squares."""

from engine.causal import Column
from engine.indicators.making import talib


def linearreg(column: Column, length: int = 14) -> Column:
    """Where the line through the last `length` values stands at the newest of them."""
    return _line("linearreg", column, length)


def linearreg_slope(column: Column, length: int = 14) -> Column:
    """By how much that line rises with each bar."""
    return _line("linearreg_slope", column, length)


def linearreg_intercept(column: Column, length: int = 14) -> Column:
    """Where that line stands at the oldest of the values."""
    return _line("linearreg_intercept", column, length)


def linearreg_angle(column: Column, length: int = 14) -> Column:
    """The angle of that line, with one bar as long as one unit of price."""
    return _line("linearreg_angle", column, length)


def tsf(column: Column, length: int = 14) -> Column:
    """Where that line will stand on the next bar."""
    return _line("tsf", column, length)


def fosc(column: Column, length: int = 5) -> Column:
    """How far the value is from what `tsf` foretold on the bar before, in percent of the value."""
    return 100.0 * (column - tsf(column, length).lag(1)) / column


def _line(name: str, column: Column, length: int) -> Column:
    return talib(name, column, lookback=length - 1, timeperiod=length)
