"""Two measures that signal classes and regimes share: how straight a path was, and how far a value is past a border."""

from engine.causal import Column, where


def efficiency(column: Column, length: int) -> Column:
    """Kaufman's efficiency ratio with its sign, -1 to 1: the way made over `length` bars by the way walked.

    0 where nothing moved. Of a random walk it deviates by about 1.25 / sqrt(length).
    """
    step = column - column.lag(1)
    walked = step.abs().rolling_sum(length)
    made = column - column.lag(length)
    return where(walked > 0, (made / walked).clip(-1.0, 1.0), 0.0)


def past(value: Column, border: float) -> Column:
    """How far a value of at least 0 is past `border`: 0.5 at it, 1 at twice of it and beyond."""
    return (value / (2.0 * border)).clip(0.0, 1.0)
