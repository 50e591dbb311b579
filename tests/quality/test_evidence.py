"""Evidence: one document, one id, and numbers written as RFC 8785 writes them."""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quality.errors import UnknownMetricError
from quality.evidence import METRICS, Evidence, Measurement, encode, measured
from tests.gate import HASH, evidence_of

# RFC 8785, appendix B, "Number Serialization Samples": the bits of a double, and how it is written.
RFC_8785_APPENDIX_B = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "written"), RFC_8785_APPENDIX_B)
def test_numbers_are_written_as_the_standard_writes_them(bits, written):
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert f'"value":{written}}}' in evidence_of({"net_return": value}).canonical().decode()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (math.nan, None),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3.0),
    ],
)
def test_what_json_cannot_say_is_said_in_words(value, written):
    assert encode(value) == written
    assert type(encode(value)) in (type(None), str, float)


def test_what_was_not_measured_has_a_reason():
    metrics = measured(
        {"oos_sharpe": None, "degradation": math.nan, "sharpe": math.nan},
        table="walk_forward",
        reasons={"degradation": "the in-sample Sharpe ratio is not positive"},
    )
    assert {name: metric.reason for name, metric in metrics.items()} == {
        "oos_sharpe": "not measured",
        "degradation": "the in-sample Sharpe ratio is not positive",
        "sharpe": "not a number",
    }


@pytest.mark.parametrize(("value", "reason"), [(None, None), (None, ""), (1.0, "not measured")])
def test_a_reason_stands_beside_what_is_absent_and_only_there(value, reason):
    with pytest.raises(ValidationError, match="give a reason when there is no value"):
        Measurement(value=value, definition="…", table="backtest", reason=reason)


def test_every_metric_carries_its_definition_and_its_table():
    document = json.loads(evidence_of({"max_drawdown": 0.1}).canonical())
    assert document["metrics"]["max_drawdown"] == {
        "value": 0.1,
        "definition": METRICS["max_drawdown"],
        "table": "scorecard",
        "reason": None,
    }


def test_a_metric_without_a_definition_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownMetricError, match="unknown metric 'deflated_sharp': did you mean 'deflated_sharpe'"):
        measured({"deflated_sharp": 1.0}, table="scorecard")
    with pytest.raises(UnknownMetricError, match="unknown metric 'zzz': write one of alpha_lower, ambiguous_share"):
        measured({"zzz": 1.0}, table="scorecard")
    measurement = {"value": 1.0, "definition": "…", "table": "scorecard", "reason": None}
    with pytest.raises(ValidationError, match="unknown metric 'zzz'"):
        Evidence.model_validate(evidence_of().model_dump() | {"metrics": {"zzz": measurement}})


@given(st.permutations(["oos_sharpe", "n_trades", "max_drawdown", "pbo"]))
def test_the_order_of_measuring_does_not_change_the_id(order):
    values = {"oos_sharpe": 0.9, "n_trades": 31, "max_drawdown": 0.1, "pbo": math.nan}
    assert evidence_of({name: values[name] for name in order}).id == evidence_of(values).id


@pytest.mark.parametrize(
    "change",
    [
        {"strategy": "sma_cross@1.0.1"},
        {"as_of": "2017-12-31"},
        {"commit": None},
        {"dirty": True},
        {"certificate": None},
        {"data": {"crypto_5m": {"digest": HASH, "receipt_sequence": 8}}},
        {"hashes": {"code": "sha256:" + "1" * 64, "configuration": HASH, "policy": HASH, "engine": HASH}},
        {"values": {"oos_sharpe": 0.9000000000000001}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_gives_another_id(change):
    assert evidence_of(**{"values": {"oos_sharpe": 0.9}} | change).id != evidence_of({"oos_sharpe": 0.9}).id


def test_the_id_survives_writing_and_reading():
    before = evidence_of({"oos_sharpe": math.inf, "degradation": math.nan, "n_trades": 30})
    assert Evidence.model_validate_json(before.canonical()) == before
    assert Evidence.model_validate_json(before.canonical()).id == before.id


@pytest.mark.parametrize("key", ["sma_cross", "sma_cross@1.0", "SMA@1.0.0", "sma@1.0.0\n", "sma@\u0661.0.0", "@1.0.0"])
def test_a_strategy_is_named_with_its_version(key):
    with pytest.raises(ValidationError, match="strategy"):
        evidence_of(strategy=key)


@pytest.mark.parametrize(
    ("commit", "dirty", "clean"), [("4b825dc", False, 1.0), ("4b825dc", True, 0.0), (None, False, 0.0)]
)
def test_a_tree_is_clean_when_all_of_it_is_in_a_commit(commit, dirty, clean):
    assert evidence_of(commit=commit, dirty=dirty).value("clean_tree") == clean
