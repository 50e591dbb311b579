"""The structure of prices, slow and obvious: every bar looks through all that came before it, in plain Python.

Nothing here imports the code under test. Bars are tuples of open, high, low and close; the answers are
lists, one value a bar, None where nothing is known.
"""

from typing import Any

Bar = tuple[float, float, float, float]


def upside_down(bars: list[Bar]) -> list[Bar]:
    return [(-opened, -low, -high, -closed) for opened, high, low, closed in bars]


def swing_highs(bars: list[Bar], n: int) -> list[int]:
    highs = [high for _, high, _, _ in bars]
    return [
        p
        for p in range(n, len(bars) - n)
        if all(highs[q] < highs[p] for q in range(p - n, p)) and all(highs[q] <= highs[p] for q in range(p, p + n + 1))
    ]


def last_swing(found: list[int], n: int, t: int) -> int | None:
    """The newest of them that is known on the close of bar `t`."""
    return max((p for p in found if p + n <= t), default=None)


def first_beyond(bars: list[Bar], n: int, *, place: int) -> list[bool]:
    """Whether this bar is the first whose value at `place` is above the last swing high known before it."""
    found, answer = swing_highs(bars, n), []
    for t in range(len(bars)):
        p = last_swing(found, n, t - 1)
        level = None if p is None else bars[p][1]
        before = range(p + n + 1, t) if p is not None else []
        answer.append(level is not None and bars[t][place] > level and all(bars[q][place] <= level for q in before))
    return answer


def broken(bars: list[Bar], n: int) -> list[bool]:
    return first_beyond(bars, n, place=3)


def swept(bars: list[Bar], n: int) -> list[bool]:
    found, first = swing_highs(bars, n), first_beyond(bars, n, place=1)
    return [
        first[t] and closed <= bars[last_swing(found, n, t - 1) or 0][1] for t, (_, _, _, closed) in enumerate(bars)
    ]


def trend(up: list[bool], down: list[bool]) -> list[int | None]:
    answer: list[int | None] = []
    for t in range(len(up)):
        before = answer[t - 1] if t else None
        answer.append(1 if up[t] else -1 if down[t] else before)
    return answer


def gaps(bars: list[Bar]) -> list[tuple[int, float, float, float]]:
    """Bullish ones: bar on which each is known, top, bottom, and the price that ends it."""
    return [(t, bars[t][2], bars[t - 2][1], bars[t - 2][1]) for t in range(2, len(bars)) if bars[t][2] > bars[t - 2][1]]


def blocks(bars: list[Bar], up: list[bool]) -> list[tuple[int, float, float, float]]:
    """Bullish ones, as `gaps`."""
    answer = []
    for t in range(len(bars)):
        against = [k for k in range(t) if bars[k][3] < bars[k][0]]
        break_before = max((k for k in range(t) if up[k]), default=-1)
        if up[t] and against and against[-1] > break_before:
            _, high, low, _ = bars[against[-1]]
            answer.append((t, high, low, high))
    return answer


def zones(bars: list[Bar], born: list[tuple[int, float, float, float]]) -> dict[str, list[Any]]:
    """What the newest bullish zone that stands is, and what each bar does to that which stood before it."""
    said: dict[str, list[Any]] = {name: [] for name in ("top", "bottom", "bars_ago", "entered", "held", "ended")}
    stood = None
    for t, (_, _, low, closed) in enumerate(bars):
        said["entered"].append(stood is not None and low <= stood[1])
        said["held"].append(stood is not None and low <= stood[1] and closed >= stood[2])
        said["ended"].append(stood is not None and low <= stood[3])
        standing = [
            zone for zone in born if zone[0] <= t and all(bars[q][2] > zone[3] for q in range(zone[0] + 1, t + 1))
        ]
        stood = standing[-1] if standing else None
        said["top"].append(stood and stood[1])
        said["bottom"].append(stood and stood[2])
        said["bars_ago"].append(stood and t - stood[0])
    return said
