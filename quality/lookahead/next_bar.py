"""The near future, which cutting data cannot show: a kernel that fills on the bar of the decision.

Cut data give such a kernel the same result. So decisions are changed from a bar on, in each
direction there is, and everything up to and including that bar must stay as it was.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quality.lookahead.laws import Law, broken, held

Simulate = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]

NEXT_BARS = 20


def next_bar(simulate: Simulate, decisions: Mapping[str, NDArray[Any]], *, n_bars: int = NEXT_BARS) -> Law:
    """Change what is decided from a bar on, and see that nothing up to and including that bar moves.

    Args:
        simulate: from decisions to what is to be compared, arrays by name; as `decisions`, bars first.
        decisions: what is decided on each bar's close, by name: truths, or numbers to hold. From the bar on each in turn
            is made always true (a number: turned round) and the others never (a number: not said), so that whatever is
            held there is one decision that would move it.
        n_bars: how many bars, evenly spread over the series, to do that at.

    Returns:
        The first change that reached back, by the bar and the array it reached. An empty series proves nothing.
    """
    length = min((len(values) for values in decisions.values()), default=0)
    if length == 0:
        return broken("next_bar", "there is no bar to check")
    before = simulate(decisions)
    changed_at = np.unique(np.linspace(0, length - 1, min(length, n_bars)).astype(int)).tolist()
    for bar in changed_at:
        for name in decisions:
            after = simulate({other: _from(values, bar, always=other == name) for other, values in decisions.items()})
            for column, values in before.items():
                moved = _moved(values[: bar + 1], after[column][: bar + 1])
                if moved is not None:
                    detail = f"{name} decided on the close of bar {bar} and later moves {column} on bar {moved}"
                    return broken("next_bar", detail, first_bar=moved, column=column)
    return held("next_bar", f"decisions changed from each of {len(changed_at)} bars on move nothing up to that bar")


def _from(values: NDArray[Any], bar: int, *, always: bool) -> NDArray[Any]:
    """A truth always holds or never; a number is turned round, or leaves things as they are."""
    changed = values.copy()
    if values.dtype == np.bool_:
        changed[bar:] = always
    else:
        changed[bar:] = np.where(np.isfinite(values[bar:]), -values[bar:], 1.0) if always else np.nan
    return changed


def _moved(before: NDArray[Any], after: NDArray[Any]) -> int | None:
    same = (before == after) | ((before != before) & (after != after))  # noqa: PLR0124, NaN equals NaN here
    rows = np.flatnonzero(~same.reshape(same.shape[0], -1).all(axis=1))
    return int(rows[0]) if rows.size else None
