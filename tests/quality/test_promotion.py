"""The gate: named scenarios, the sentences a refused person reads, and the laws a policy keeps."""

import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quality.evidence import METRICS
from quality.promotion import PromotionPolicy, decide
from tests.gate import GOOD, HASH, RULES, evidence_of, policy_of, review_of

POLICY_FILE = Path(__file__).parents[2] / "policies" / "promotion.yaml"
MEASURED_ON_A_BACKTEST = {
    "completeness_min", "sla_breaches", "quarantined_share", "look_ahead_certificate",
    "net_return", "sharpe", "max_drawdown", "n_trades", "profit_factor", "ambiguous_share", "profit_concentration",
    "oos_sharpe", "oos_sharpe_lower", "oos_net_return", "degradation", "oos_windows_positive",
    "n_trials", "probabilistic_sharpe", "deflated_sharpe", "track_record_ratio",
}  # fmt: skip


def rule(metric="n_trades", **limits):
    return {"metric": metric, "why": "because"} | (limits or {"at_least": 30})


@pytest.mark.parametrize(
    ("values", "failed"),
    [
        pytest.param({}, [], id="good evidence is approved"),
        pytest.param({"oos_sharpe": 1.0, "max_drawdown": 0.2}, [], id="a limit that is just kept is kept"),
        pytest.param({"oos_sharpe": 0.999999}, ["oos_sharpe"], id="a limit that is just missed is missed"),
        pytest.param(
            {"look_ahead_certificate": 0}, ["look_ahead_certificate"], id="a cheater fails by its certificate"
        ),
        pytest.param({"oos_sharpe": None}, ["oos_sharpe"], id="what was not measured fails"),
        pytest.param({"max_drawdown": math.nan}, ["max_drawdown"], id="what is not a number fails, at most too"),
        pytest.param({"oos_sharpe": math.inf}, [], id="an infinite ratio is a large one"),
        pytest.param({"oos_sharpe": -math.inf}, ["oos_sharpe"], id="a ratio of minus infinity is a small one"),
        pytest.param(
            {"oos_sharpe": 0.0, "max_drawdown": 0.5}, ["oos_sharpe", "max_drawdown"], id="every reason is given"
        ),
    ],
)
def test_a_strategy_moves_to_paper_when_it_keeps_every_rule(values, failed):
    decision = review_of(**values)
    assert decision.approved == (not failed)
    assert [verdict.metric for verdict in decision.verdicts if not verdict.passed] == failed
    assert len(decision.verdicts) == len(RULES)


def test_an_empty_rule_list_approves_nothing():
    decision = decide(policy_of(to_paper=()), evidence_of(), "paper")
    assert not decision.approved
    assert all(verdict.passed for verdict in decision.verdicts)


def test_a_metric_that_is_absent_reads_not_measured():
    decision = decide(policy_of(), evidence_of({"look_ahead_certificate": 1, "oos_sharpe": 0.9}), "paper")
    assert [str(verdict) for verdict in decision.verdicts] == [
        "look_ahead_certificate is 1, must be at least 1: nothing that uses the future may trade",
        "oos_sharpe is 0.9, must be at least 1: edge must survive out of sample",
        "max_drawdown is not measured, must be at most 0.2: the desk stops at 20 %",
    ]


def test_a_sentence_never_rounds_a_failure_onto_its_limit():
    (_, sharpe, _) = review_of(oos_sharpe=0.99999999).verdicts
    assert str(sharpe).startswith("oos_sharpe is 0.99999999, must be at least 1:")


@pytest.mark.parametrize("at_least", [None, 0, 0.5])
def test_no_policy_promotes_without_a_certificate(at_least):
    weak = () if at_least is None else (rule("look_ahead_certificate", at_least=at_least),)
    cheater = evidence_of(GOOD | {"look_ahead_certificate": 0.5})
    decision = decide(policy_of(to_paper=(rule("oos_sharpe", at_least=1), *weak)), cheater, "paper")
    assert [verdict.metric for verdict in decision.verdicts if not verdict.passed] == ["look_ahead_certificate"]


@pytest.mark.parametrize(("commit", "dirty"), [("4b825dc", True), (None, False)])
def test_what_was_not_committed_goes_to_paper_at_most(commit, dirty):
    evidence = evidence_of(commit=commit, dirty=dirty)
    assert decide(policy_of(), evidence, "paper").approved
    refusal = decide(policy_of(), evidence, "live")
    assert [verdict.metric for verdict in refusal.verdicts if not verdict.passed] == ["clean_tree"]
    assert decide(policy_of(), evidence_of(), "live").approved


def test_the_document_is_the_one_that_the_contract_prints():
    decision = review_of(oos_sharpe=math.nan, max_drawdown=math.inf)
    document = decision.document()
    assert list(document) == ["strategy", "from", "to", "approved", "decision", "evidence", "verdicts"]
    assert document["decision"] == decision.id
    assert document["evidence"] == evidence_of(GOOD | {"oos_sharpe": math.nan, "max_drawdown": math.inf}).id
    assert document["verdicts"][1:] == [
        {
            "metric": "oos_sharpe",
            "value": None,
            "bound": "at_least",
            "limit": 1.0,
            "passed": False,
            "why": RULES[1]["why"],
        },
        {
            "metric": "max_drawdown",
            "value": "inf",
            "bound": "at_most",
            "limit": 0.2,
            "passed": False,
            "why": RULES[2]["why"],
        },
    ]
    json.dumps(document, allow_nan=False)


def test_the_same_policy_and_evidence_give_the_same_id():
    assert review_of() == review_of()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(decide(policy_of(), evidence_of(), "live"), id="another step"),
        pytest.param(decide(policy_of(), evidence_of(as_of="2017-12-31"), "paper"), id="other evidence"),
        pytest.param(decide(policy_of(approvals=3), evidence_of(), "paper"), id="another policy"),
        pytest.param(decide(policy_of(), evidence_of(strategy="other@1.0.0"), "paper"), id="another strategy"),
    ],
)
def test_anything_else_gives_another_id(other):
    assert other.id != review_of().id


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (rule("deflated_sharp"), "unknown metric 'deflated_sharp': did you mean 'deflated_sharpe'"),
        (rule(at_least=1, at_most=2), "n_trades has both: write at_least or at_most"),
        ({"metric": "n_trades", "why": "because"}, "n_trades has none: write at_least or at_most"),
        (rule(at_least=math.nan), "finite number"),
        (rule(at_least=math.inf), "finite number"),
        (rule(at_least="30"), "valid number"),
        (rule(at_least=True), "valid number"),
        (rule(at_least=30) | {"else": "lab"}, "Extra inputs"),
        ({"metric": "n_trades", "at_least": 30}, "Field required"),
        (rule() | {"why": ""}, "at least 1 character"),
    ],
)
def test_a_rule_is_one_known_metric_one_limit_and_a_reason(bad, message):
    with pytest.raises(ValidationError, match=message):
        policy_of(to_paper=(bad,))


@pytest.mark.parametrize("key", ["keep", "capital_steps", "evidence_expires_day"])
def test_a_policy_key_that_nothing_reads_is_refused(key):
    with pytest.raises(ValidationError, match=key):
        PromotionPolicy.model_validate(policy_of().document() | {key: 1})


def test_the_policy_document_reads_back_as_the_policy():
    assert PromotionPolicy.model_validate(policy_of().document()) == policy_of()


def test_only_the_step_to_live_wants_approvals():
    assert (policy_of().approvals("paper"), policy_of().approvals("live")) == (0, 2)


def shipped_policy():
    return PromotionPolicy.model_validate(yaml.safe_load(POLICY_FILE.read_text(encoding="utf-8")))


def test_the_shipped_policy_asks_for_nothing_that_cannot_be_measured_on_a_backtest():
    asked = {rule.metric for rule in shipped_policy().rules("paper")}
    assert (
        {"look_ahead_certificate", "deflated_sharpe", "oos_sharpe", "max_drawdown"} <= asked <= MEASURED_ON_A_BACKTEST
    )


def test_the_shipped_policy_lets_nobody_go_live_without_paper_controls_and_two_people():
    assert {"paper_days", "controls_refused"} <= {rule.metric for rule in shipped_policy().rules("live")}
    assert shipped_policy().approvals("live") == 2


numbers = st.one_of(st.none(), st.floats(), st.integers(-3, 3).map(float))
bounds = st.sampled_from(["at_least", "at_most"])
free = sorted(set(METRICS) - {"look_ahead_certificate", "clean_tree"})  # of these more is better, whatever a rule says
rules = st.lists(
    st.builds(lambda metric, bound, limit: rule(metric, **{bound: limit}), st.sampled_from(free), bounds,
              st.integers(-3, 3).map(float)),
    max_size=5, unique_by=lambda each: each["metric"],
)  # fmt: skip


def better(value, gain, rule):
    """A value that is nearer to keeping `rule`: anything, where nothing was measured."""
    if value is None or math.isnan(value):
        return gain
    return value + gain if "at_least" in rule else value - gain


@given(rules, st.sampled_from(["paper", "live"]), st.data())
def test_better_evidence_never_turns_an_approval_into_a_refusal(rules, to, data):
    values = {each["metric"]: data.draw(numbers) for each in rules} | {"look_ahead_certificate": data.draw(numbers)}
    gains = {metric: data.draw(st.floats(0, 1e300)) for metric in values}
    directions = {each["metric"]: each for each in rules}
    improved = {
        metric: better(value, gains[metric], directions.get(metric, rule(metric, at_least=1)))
        for metric, value in values.items()
    }
    policy = policy_of(to_paper=rules, to_live=rules)
    before, after = (decide(policy, evidence_of(measures), to) for measures in (values, improved))
    for worse, now in zip(before.verdicts, after.verdicts, strict=True):
        assert now.passed or not worse.passed
    assert after.approved or not before.approved


@given(rules, st.data())
def test_a_decision_is_approved_exactly_when_there_are_rules_and_none_failed(rules, data):
    values = {metric: data.draw(numbers) for metric in {each["metric"] for each in rules}}
    decision = decide(policy_of(to_paper=rules), evidence_of(values), "paper")
    assert decision.approved == (bool(rules) and all(verdict.passed for verdict in decision.verdicts))
    assert decision.id.startswith("sha256:")
    assert len(decision.id) == len(HASH)
