"""What the example strategies trade on the embedded data does not change unless it is meant to."""

import json

import pytest

from tests.write_golden import GOLDEN, written


@pytest.mark.slow
def test_the_example_strategies_trade_what_they_traded() -> None:
    """When this fails and should, `python -m tests.write_golden` and say in the commit why trades moved."""
    assert written() == json.loads(GOLDEN.read_text())
