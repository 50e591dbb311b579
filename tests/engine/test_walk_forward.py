"""Windows against the laws of walking forward, checked on timestamps and not only on indices."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OutOfBoundsError
from engine.walk_forward import degradation, windows

plans = st.fixed_dictionaries(
    {
        "in_sample": st.integers(1, 60),
        "out_of_sample": st.integers(1, 30),
        "purge": st.integers(0, 10),
        "anchored": st.booleans(),
    }
)
histories = st.integers(0, 250)


def slow_windows(n_periods, *, in_sample, out_of_sample, purge, anchored):
    """Give each period its letter, window by window, until one does not fit any more."""
    found = []
    skipped = 0
    while skipped + in_sample + purge + out_of_sample <= n_periods:
        start = 0 if anchored else skipped
        chosen_on = list(range(start, skipped + in_sample))
        judged_on = list(range(skipped + in_sample + purge, skipped + in_sample + purge + out_of_sample))
        found.append((chosen_on, judged_on))
        skipped += out_of_sample
    return found


@given(histories, plans)
def test_windows_agree_with_counting_periods_one_by_one(n_periods, plan):
    found = [(list(window.in_sample), list(window.out_of_sample)) for window in windows(n_periods, **plan)]
    assert found == slow_windows(n_periods, **plan)


@given(histories, plans)
def test_out_of_sample_is_one_stretch_without_gap_or_overlap(n_periods, plan):
    found = windows(n_periods, **plan)
    judged_on = [period for window in found for period in window.out_of_sample]
    first = plan["in_sample"] + plan["purge"]
    assert judged_on == list(range(first, first + len(judged_on)))
    assert n_periods - (first + len(judged_on)) < plan["out_of_sample"] or not found


@given(histories, plans)
def test_what_is_decided_in_sample_and_held_through_the_purge_is_closed_before_it_is_judged(n_periods, plan):
    """On timestamps: sessions are labelled a day apart, a position opened on the last one is held `purge` days."""
    opens = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(n_periods)]
    held = timedelta(days=plan["purge"])
    for window in windows(n_periods, **plan):
        decided = [opens[period] for period in window.in_sample]
        judged = [opens[period] for period in window.out_of_sample]
        assert max(decided) + held < min(judged)
        between = [ts for ts in opens if max(decided) < ts < min(judged)]
        assert len(between) == plan["purge"]


@given(histories, histories, plans)
def test_more_history_adds_windows_and_changes_none(n_periods, more, plan):
    before, after = windows(n_periods, **plan), windows(n_periods + more, **plan)
    assert after[: len(before)] == before


@given(histories, plans)
def test_rolling_windows_are_equally_long_and_anchored_ones_grow_from_the_start(n_periods, plan):
    rolling = windows(n_periods, **{**plan, "anchored": False})
    anchored = windows(n_periods, **{**plan, "anchored": True})
    assert {len(window.in_sample) for window in rolling} <= {plan["in_sample"]}
    assert {window.in_sample.start for window in anchored} <= {0}
    assert [window.in_sample.stop for window in anchored] == [window.in_sample.stop for window in rolling]
    for earlier, later in pairwise(anchored):
        assert len(later.in_sample) == len(earlier.in_sample) + plan["out_of_sample"]


def test_the_last_complete_window_may_end_with_the_history():
    assert len(windows(7, in_sample=4, out_of_sample=2, purge=1)) == 1
    assert windows(6, in_sample=4, out_of_sample=2, purge=1) == []


@pytest.mark.parametrize("n_periods", [0, 1, 6])
def test_too_little_history_gives_no_windows(n_periods):
    assert windows(n_periods, in_sample=4, out_of_sample=2, purge=1, anchored=True) == []


@pytest.mark.parametrize("wrong", [{"in_sample": 0}, {"out_of_sample": 0}, {"purge": -1}], ids=str)
def test_a_plan_that_cannot_be_is_refused_with_what_was_wrong(wrong):
    with pytest.raises(OutOfBoundsError, match=f"^{next(iter(wrong))} is "):
        windows(100, **{"in_sample": 4, "out_of_sample": 2, **wrong})


def test_a_negative_history_is_refused():
    with pytest.raises(OutOfBoundsError, match="n_periods is -1, must be at least 0"):
        windows(-1, in_sample=4, out_of_sample=2)


@pytest.mark.parametrize(
    ("in_sample", "out_of_sample", "gone"),
    [
        pytest.param(2.0, 2.0, 0.0, id="nothing lost"),
        pytest.param(2.0, 0.5, 0.75, id="three quarters lost"),
        pytest.param(2.0, -1.0, 1.5, id="turned into its opposite"),
        pytest.param(1.0, 1.5, -0.5, id="improved"),
    ],
)
def test_degradation_is_the_share_that_is_gone(in_sample, out_of_sample, gone):
    assert degradation(in_sample, out_of_sample) == gone


@pytest.mark.parametrize(("in_sample", "out_of_sample"), [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_there_is_no_share_of_what_was_not_positive(in_sample, out_of_sample):
    assert math.isnan(degradation(in_sample, out_of_sample))
