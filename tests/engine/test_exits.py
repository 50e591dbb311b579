"""Stop distances: raw price units, and none before it is known."""

import numpy as np
import polars as pl
import pytest

from engine.causal import Bars
from engine.errors import OutOfBoundsError
from engine.exits import stop_distances
from engine.indicators import atr
from tests.bar_frames import random_walk


def test_a_share_of_the_close_is_a_share_of_the_raw_close():
    frame = random_walk("1d", 3, seed=0).with_columns(close=pl.Series([100.0, 200.0, 220.0]), factor=pl.lit(2.0))
    assert stop_distances(frame, pct=0.02).tolist() == pytest.approx([1.0, 2.0, 2.2])


def test_average_true_ranges_are_divided_by_the_factor_after_the_warm_up():
    frame = random_walk("1d", 400, seed=1).with_columns(factor=pl.lit(4.0))
    distances = stop_distances(frame, atr=2, length=14)
    warm = 14 + 280
    assert np.isnan(distances[:warm]).all()
    ranges = frame.select(atr(Bars("1d"), 14).expression).to_series().to_numpy()
    np.testing.assert_allclose(distances[warm:], 2 * ranges[warm:] / 4)


def test_prices_that_never_move_give_no_stop():
    flat = random_walk("1d", 50, seed=2).with_columns(pl.lit(10.0).alias(name) for name in ("high", "low", "close"))
    assert np.isnan(stop_distances(flat, atr=2, length=2)).all()


@pytest.mark.parametrize(
    "wrong", [{}, {"pct": 0.1, "atr": 2, "length": 3}, {"atr": 2}, {"length": 3}, {"pct": 0.1, "length": 3}]
)
def test_a_stop_has_one_form(wrong):
    with pytest.raises(OutOfBoundsError, match="pct alone, or atr and length together"):
        stop_distances(random_walk("1d", 3, seed=0), **wrong)


@pytest.mark.parametrize(
    "wrong", [{"pct": 0}, {"pct": float("nan")}, {"atr": -1, "length": 3}, {"atr": 1, "length": 0}]
)
def test_a_distance_is_above_zero(wrong):
    with pytest.raises(OutOfBoundsError):
        stop_distances(random_walk("1d", 3, seed=0), **wrong)
