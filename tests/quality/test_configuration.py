"""What a person wrote wrong is said with its line, what was found, what was expected, and the nearest known name."""

from datetime import date

import pytest
from pydantic import BaseModel

from quality.configuration import parse
from quality.datasets import Dataset
from quality.documents import compose
from quality.errors import ConfigurationError
from quality.policies import CalendarsPolicy, CostsPolicy, SlaPolicy
from quality.promotion import PromotionPolicy
from quality.strategies import Exits, Parameter, Rung, StrategyConfiguration
from quality.universe import UniversePolicy

DATASET = """\
schema: 1
name: crypto_5m
source: {kind: sample}
calendar: 24/7
volume: traded
timeframe: 5m
resample: [1h, 1d]
start: 2017-07-01
sla: crypto
instruments:
  - id: BTCUSD.BITFINEX
    symbol: tBTCUSD
    quote: USD
    settle: USD
    tick: 0.1
    lot: 0.0001
    min_notional: 10
    tier: core
features:
  rsi_14_1h: {indicator: rsi, length: 14, timeframe: 1h}
"""

STRATEGY = """\
schema: 1
name: sma_cross
version: 1.0.0
author: founders
dataset: crypto_5m
instruments: all
timeframe: 1h
account: {cash: 100000, currency: USD, capital: shared}
params:
  fast: {value: 20, min: 5, max: 50, step: 15}
  slow: {value: 100, min: 50, max: 200, step: 25}
size: {model: risk_per_trade, risk: 0.005, cap: 0.2}
exits:
  stop: {atr: 2, length: 14}
  targets: default
costs: bitfinex
walk_forward: {in_sample: 60d, out_of_sample: 20d, purge: 1d}
"""

SLA = """\
schema: 1
crypto:
  completeness: {at_least: 0.99, severity: enforce, from: 2017-07-01, why: bars that exist}
  nan: {at_most: 0, severity: enforce, why: prices are numbers}
  duplicates: {at_most: 0, severity: enforce, why: one bar a moment}
  quarantined: {at_most: 0.01, severity: warn, why: little nonsense}
  lateness: {at_most: 90, severity: warn, why: late bars miss their night}
  no_trade_bars: missing
  freshness: {warn_after_hours: 26, fail_after_hours: 30}
  block_share: 0.5
"""

COSTS = """\
schema: 1
bitfinex:
  fees:
    - from: 2015-08-17
      tiers: [{volume: 0, maker_bps: 10, taker_bps: 20}]
    - from: 2018-01-01
      tiers:
        - {volume: 0, maker_bps: 10, taker_bps: 20}
        - {volume: 500000, maker_bps: 8, taker_bps: 20}
  half_spread_bps: {core: 2}
  limit_fill: trade_through
  borrow_bps_per_day: 0
"""

PROMOTION = """\
schema: 1
evidence_expires_days: 7
lab_to_paper:
  rules:
    - {metric: max_drawdown, at_most: 0.2, why: the desk stops here}
paper_to_live: {approvals: 2, rules: []}
periods_per_year: {24/7: 365}
"""

CALENDARS = "schema: 1\nXHKG: [{session: 2023-09-01, closed: true, why: typhoon}]\n"

UNIVERSE = """\
schema: 1
liquid:
  refresh: weekly
  window_sessions: 30
  min_completeness: {limit: 0.95, why: bars that exist}
  required_tags: {tags: [halal], why: the mandate}
  tiers: {core: 1000000}
"""

FILES: dict[type[BaseModel], str] = {
    Dataset: DATASET,
    StrategyConfiguration: STRATEGY,
    SlaPolicy: SLA,
    CostsPolicy: COSTS,
    PromotionPolicy: PROMOTION,
    CalendarsPolicy: CALENDARS,
    UniversePolicy: UNIVERSE,
}


def refused(text: str, model: type[BaseModel]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, model, file="it.yaml")
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def edited(model: type[BaseModel], old: str, new: str) -> str:
    assert FILES[model].count(old) == 1
    return FILES[model].replace(old, new)


def test_a_section_of_costs_may_charge_by_the_share() -> None:
    text = COSTS[: COSTS.index("  fees:")] + "  per_share: {fee: 0.005, minimum: 1}\n" + COSTS[COSTS.index("  half_") :]
    (section,) = parse(text, CostsPolicy, file="it.yaml").sections.values()
    assert (section.fees, section.known_from, section.participation, section.delisting_recovery) == ((), date.min, 1, 1)
    neither = text.replace("  per_share: {fee: 0.005, minimum: 1}\n", "")
    assert refused(neither, CostsPolicy) == [
        "it.yaml:2: bitfinex.fees is missing, expected at least one period, or per_share instead"
    ]


def test_a_good_file_becomes_a_frozen_model() -> None:
    dataset = parse(DATASET, Dataset, file="it.yaml")
    assert (dataset.calendar, dataset.start, dataset.end) == ("24/7", date(2017, 7, 1), None)
    assert dataset.timeframes == ("5m", "1h", "1d")
    assert dataset.features["rsi_14_1h"].parameters == {"length": 14}
    assert dataset.instruments[0].shortable


@pytest.mark.parametrize("model", FILES)
def test_what_was_read_can_be_written_and_read_again(model: type[BaseModel]) -> None:
    value = parse(FILES[model], model, file="it.yaml")
    assert parse(value.model_dump_json(by_alias=True, exclude_none=True), model, file="it.yaml") == value


@pytest.mark.parametrize(
    ("model", "old", "new", "problem"),
    [
        pytest.param(
            Dataset, "timeframe: 5m", "timefame: 5m",
            "it.yaml:6: unknown key 'timefame': did you mean 'timeframe'? Expected one of calendar, end, features, "
            "instruments, name, on_conflict, resample, schema, sla, source, start, timeframe, universes, volume",
            id="a misspelt key is one problem, not also a missing one",
        ),
        pytest.param(
            Dataset, "    tick: 0.1\n", "    tik: 0.1\n", "it.yaml:15: unknown key 'instruments[0].tik': did you mean 'tick'?",
            id="a misspelt key in a list",
        ),
        pytest.param(
            Dataset, "start: 2017-07-01", "start: yesterday",
            "it.yaml:8: start is 'yesterday', expected a date such as 2017-07-01", id="a date that is none",
        ),
        pytest.param(
            Dataset, "2017-07-01", "2017-02-30", "it.yaml:8: start is '2017-02-30', expected a date such as 2017-07-01",
            id="a day that does not exist",
        ),
        pytest.param(
            Dataset, "start: 2017-07-01\n", "", "it.yaml:1: start is missing, expected a date such as 2017-07-01",
            id="a missing key has the line of its mapping",
        ),
        pytest.param(
            Dataset, "    tick: 0.1\n", "", "it.yaml:11: instruments[0].tick is missing, expected a number",
            id="a missing key in a list",
        ),
        pytest.param(
            Dataset, "start: 2017-07-01", "start:", "it.yaml:8: start is empty, expected a date such as 2017-07-01",
            id="a key without a value",
        ),
        pytest.param(
            Dataset, "volume: traded", "volume: trade",
            "it.yaml:5: volume is 'trade': did you mean 'traded'? Expected 'traded', 'ticks' or 'none'",
            id="a word that is not among the known ones",
        ),
        pytest.param(
            Dataset, "kind: sample", "kind: sampel",
            "it.yaml:3: source.kind is 'sampel': did you mean 'sample'? Expected 'kind' to be 'sample', 'files', 'ccxt'",
            id="a kind of source that does not exist",
        ),
        pytest.param(
            Dataset, "    tick: 0.1\n", "    tick: '0.1'\n", "it.yaml:15: instruments[0].tick is '0.1', expected a number",
            id="a number in quotes is text",
        ),
        pytest.param(
            Dataset, "    tick: 0.1\n", "    tick: .inf\n", "it.yaml:15: instruments[0].tick is '.inf', expected a number",
            id="infinity is no number",
        ),
        pytest.param(
            Dataset, "    tick: 0.1\n", "    tick: 1e999\n",
            "it.yaml:15: instruments[0].tick is Infinity, expected a finite number", id="a number too large to be one",
        ),
        pytest.param(
            Dataset, "    tick: 0.1\n", "    tick: 0\n", "it.yaml:15: instruments[0].tick is 0, expected more than 0",
            id="a tick of nothing",
        ),
        pytest.param(
            Dataset, "    tier: core", "    tier: core\n    shortable: on",
            "it.yaml:19: instruments[0].shortable is 'on', expected true or false", id="on is a word, not true",
        ),
        pytest.param(
            Dataset, "resample: [1h, 1d]", "resample: 3",
            "it.yaml:7: resample is 3, expected a list", id="a number where a list belongs",
        ),
        pytest.param(
            Dataset, "resample: [1h, 1d]", "resample: [1h, 7m]",
            "it.yaml:7: resample[1] is '7m', expected a multiple of the timeframe 5m, longer than it",
            id="a timeframe that cannot be made of the base one",
        ),
        pytest.param(
            Dataset, "resample: [1h, 1d]", "resample: [1h, 1d, 2d]",
            "it.yaml:7: resample[2] is '2d', expected at most 1d: bars are made session by session",
            id="bars made of several sessions",
        ),
        pytest.param(
            Dataset, "timeframe: 5m", "timeframe: 5 minutes",
            "it.yaml:6: timeframe is '5 minutes', expected a number and a unit such as 30s, 5m, 1h or 1d",
            id="a timeframe in words",
        ),
        pytest.param(
            Dataset, "start: 2017-07-01", "start: 2017-07-01\nend: 2017-06-30",
            "it.yaml:9: end is '2017-06-30', expected 2017-07-01 (start) or later", id="an end before the start",
        ),
        pytest.param(
            Dataset, "timeframe: 1h}", "timeframe: 2h}",
            "it.yaml:20: features.rsi_14_1h.timeframe is '2h', expected one of 1d, 1h, 5m",
            id="a feature on bars that are not made",
        ),
        pytest.param(
            Dataset, "  rsi_14_1h:", "  close:", "it.yaml:20: features.close is a mapping, expected a name that is no column",
            id="a feature that would hide a price",
        ),
        pytest.param(Dataset, "schema: 1\n", "", "it.yaml:1: schema is missing, expected 1", id="no schema"),
        pytest.param(
            StrategyConfiguration, "size: {model: risk_per_trade, risk: 0.005, cap: 0.2}\n", "",
            "it.yaml:1: size is missing, expected a mapping of keys to values", id="no size",
        ),
        pytest.param(
            Dataset, "schema: 1", "schema: 2", "it.yaml:1: schema is 2, expected 1", id="a schema from the future"
        ),
        pytest.param(
            StrategyConfiguration, "value: 20", "value: 22",
            "it.yaml:10: params.fast.value is 22, expected 20 or 35, on the grid from 5 by 15", id="a value off its grid",
        ),
        pytest.param(
            StrategyConfiguration, "value: 20", "value: 65",
            "it.yaml:10: params.fast.value is 65, expected a value from 5 to 50", id="a value out of bounds",
        ),
        pytest.param(
            StrategyConfiguration, "step: 15", "step: 0", "it.yaml:10: params.fast.step is 0, expected more than 0",
            id="a step of nothing",
        ),
        pytest.param(
            StrategyConfiguration, "step: 15", "stp: 15",
            "it.yaml:10: unknown key 'params.fast.stp': did you mean 'step'? Expected one of max, min, step, value",
            id="a misspelt key under a name of one's own",
        ),
        pytest.param(
            StrategyConfiguration, "step: 15", "step: 5",
            "it.yaml:9: params is a grid of 70 sets, expected at most 50: raise a step or narrow a range",
            id="a grid of too many sets",
        ),
        pytest.param(
            StrategyConfiguration, "version: 1.0.0", "version: 1.0", "it.yaml:3: version is 1.0, expected three numbers",
            id="a version that YAML takes for a number",
        ),
        pytest.param(
            StrategyConfiguration, "instruments: all", "instruments: some",
            "it.yaml:6: instruments is 'some', expected 'all'", id="neither all nor a list nor a tier",
        ),
        pytest.param(
            StrategyConfiguration, "instruments: all", "instruments: 3",
            "it.yaml:6: instruments is 3, expected all, a list of ids, a tier such as {tier: core}, or {universe: liquid_crypto}",
            id="a number of instruments",
        ),
        pytest.param(
            StrategyConfiguration, "instruments: all", "instruments: {teir: core}",
            "it.yaml:6: unknown key 'instruments.teir': did you mean 'tier'? Expected one of tier", id="a misspelt way to choose",
        ),
        pytest.param(
            StrategyConfiguration, "model: risk_per_trade", "model: risk_pertrade",
            "it.yaml:12: size.model is 'risk_pertrade': did you mean 'risk_per_trade'?", id="a misspelt size model",
        ),
        pytest.param(
            StrategyConfiguration, "model: risk_per_trade, risk: 0.005, cap: 0.2", "model: notional, notional: 100, cap: 1",
            "it.yaml:12: unknown key 'size.cap', expected one of", id="a key of another size model",
        ),
        pytest.param(
            StrategyConfiguration, "model: risk_per_trade, risk: 0.005, cap: 0.2", "model: notional, notional: much",
            "it.yaml:12: size.notional is 'much', expected a number", id="a model that is spelt like its key",
        ),
        pytest.param(
            StrategyConfiguration, "model: risk_per_trade, ", "", "it.yaml:12: size is a mapping, expected 'model' in it",
            id="a size without a model",
        ),
        pytest.param(
            StrategyConfiguration, "in_sample: 60d", "in_sample: 60",
            "it.yaml:17: walk_forward.in_sample is 60, expected a number of sessions such as 60d", id="a length without unit",
        ),
        pytest.param(
            StrategyConfiguration, "purge: 1d", "purge: 60d",
            "it.yaml:17: walk_forward.purge is '60d', expected less than in_sample (60d)", id="a purge that leaves nothing",
        ),
        pytest.param(
            StrategyConfiguration, "{atr: 2, length: 14}", "{atr: 2}",
            "it.yaml:14: exits.stop is a mapping, expected pct alone, or atr and length together", id="half a stop",
        ),
        pytest.param(
            StrategyConfiguration, "targets: default", "targets: [{r: 1, share: 0.7}, {r: 2, share: 0.4}]",
            "it.yaml:15: exits.targets is a list, expected shares that sum to at most 1", id="more targets than position",
        ),
        pytest.param(
            StrategyConfiguration, "capital: shared", "capital: shared, leverage: 2",
            "it.yaml:8: account.leverage is 2, expected 1", id="leverage is said by contracts",
        ),
        pytest.param(
            SlaPolicy, "at_least: 0.99", "at_most: 0.99",
            "it.yaml:3: crypto.completeness.at_most is 0.99, expected at_least and no other limit", id="a limit on the wrong side",
        ),
        pytest.param(
            SlaPolicy, "  nan: {at_most: 0, severity: enforce, why", "  nan: {at_most: 0, severity: enforced, why",
            "it.yaml:4: crypto.nan.severity is 'enforced': did you mean 'enforce'? Expected 'warn' or 'enforce'",
            id="a misspelt severity",
        ),
        pytest.param(
            SlaPolicy, "block_share", "blok_share", "it.yaml:10: unknown key 'crypto.blok_share': did you mean 'block_share'?",
            id="a misspelt key in a section",
        ),
        pytest.param(
            SlaPolicy, "why: little nonsense", "why: ''", "it.yaml:6: crypto.quarantined.why is '', expected a text",
            id="a rule without a reason",
        ),
        pytest.param(
            CostsPolicy, "from: 2018-01-01", "from: 2015-01-01",
            "it.yaml:6: bitfinex.fees[1].from is '2015-01-01', expected later than the period before (2015-08-17)",
            id="fee periods out of order",
        ),
        pytest.param(
            CostsPolicy, "volume: 500000", "volume: 0",
            "it.yaml:9: bitfinex.fees[1].tiers[1].volume is 0, expected more than the tier before (0)",
            id="fee tiers out of order",
        ),
        pytest.param(
            CostsPolicy, "{core: 2}", "{core: -2}", "it.yaml:10: bitfinex.half_spread_bps.core is -2, expected at least 0",
            id="a spread that pays",
        ),
        pytest.param(
            CostsPolicy, "  limit_fill", "  per_share: {fee: 0.005, minimum: 1}\n  limit_fill",
            "it.yaml:11: bitfinex.per_share is a mapping, expected no fees beside it", id="two kinds of fee",
        ),
        pytest.param(
            CostsPolicy, "  limit_fill", "  slippage: {model: bps, bsp: 5}\n  limit_fill",
            "it.yaml:11: unknown key 'bitfinex.slippage.bsp': did you mean 'bps'?", id="a misspelt key of a slippage model",
        ),
        pytest.param(
            CostsPolicy, "  limit_fill", "  slippage: {model: square_root, y: 1, sigma: 0.02}\n  limit_fill",
            "it.yaml:11: bitfinex.slippage is a mapping, expected sigma and volume of a session, or days",
            id="an impact that cannot be measured",
        ),
        pytest.param(
            CostsPolicy, "  limit_fill", "  participation: 10\n  limit_fill",
            "it.yaml:11: bitfinex.participation is 10, expected at most 1", id="more than the volume of a bar",
        ),
        pytest.param(
            PromotionPolicy, "metric: max_drawdown", "metric: max_drawdwn",
            "it.yaml:5: lab_to_paper.rules[0]: ", id="a metric that nobody measures",
        ),
        pytest.param(
            CalendarsPolicy, "closed: true", "closed: false", "it.yaml:2: XHKG[0].closed is false, expected True",
            id="a correction that corrects nothing",
        ),
        pytest.param(
            SlaPolicy, "no_trade_bars: missing", "no_trade_bars: filled",
            "it.yaml:2: crypto.filled is missing, expected a limit: filled bars are counted", id="bars filled and not counted",
        ),
        pytest.param(
            SlaPolicy, "fail_after_hours: 30", "fail_after_hours: 20",
            "it.yaml:9: crypto.freshness.fail_after_hours is 20, expected more than warn_after_hours (26)",
            id="bars too old before they are old",
        ),
        pytest.param(
            SlaPolicy, "at_most: 90, severity: warn", "at_most: 90, severity: warn, from: 2020-01-01",
            "it.yaml:7: crypto.lateness.from is '2020-01-01', expected no date where severity is warn",
            id="a warning that is to be enforced from a date",
        ),
        pytest.param(
            UniversePolicy, "refresh: weekly", "refresh: daily",
            "it.yaml:3: liquid.refresh is 'daily', expected 'weekly' or 'monthly'", id="a universe chosen anew every day",
        ),
        pytest.param(
            UniversePolicy, "limit: 0.95, why: bars that exist", "limit: 95, why: bars that exist",
            "it.yaml:5: liquid.min_completeness.limit is 95, expected at most 1", id="a share in percent",
        ),
        pytest.param(
            UniversePolicy, "why: the mandate}", "why: the mandate}\n  forbidden_tags: {tags: [halal], why: none}",
            "it.yaml:7: liquid.forbidden_tags.tags[0] is 'halal', expected a tag that is not required as well",
            id="a tag that is required and forbidden",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_problem_on_its_line(model: type[BaseModel], old: str, new: str, problem: str) -> None:
    found = refused(edited(model, old, new), model)
    assert len(found) == 1, found
    assert found[0].startswith(problem)
    for jargon in ("extra_forbidden", "type=", "Input should", "validation error", "tagged-union", "pydantic"):
        assert jargon not in "".join(found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "it.yaml:1: the file is empty, expected lines of `key: value`", id="an empty file"),
        pytest.param("- a\n- b\n", "it.yaml:1: the file is not a mapping, expected", id="a list"),
        pytest.param("a: 1\nb: [1, 2\nc: 3\n", "it.yaml:3: the file cannot be read as YAML", id="a bracket left open"),
        pytest.param("a: 1\n\tb: 2\n", "it.yaml:2: the file cannot be read as YAML", id="a tab"),
        pytest.param("a: 1\n--- \nb: 2\n", "it.yaml:2: the file cannot be read as YAML", id="two documents"),
        pytest.param("a: 1\nb: 2\na: 3\n", "it.yaml:3: key 'a' stands here again, first in line 1", id="a key twice"),
        pytest.param("a:\n  b: 1\n  b: 1\n", "it.yaml:3: key 'a.b' stands here again, first in line 2", id="a key twice below"),
        pytest.param("a: &x 1\nb: *x\n", "it.yaml:2: the file cannot be read as YAML (an alias", id="an alias"),
        pytest.param("a: !!python/name:os.system x\n", "it.yaml:1: a is 'x' with the tag", id="a foreign tag"),
        pytest.param("a: 1\n[b]: 2\n", "it.yaml:2: a key is a list or a mapping", id="a list as a key"),
        pytest.param("a: 1\nb: \x07\n", "it.yaml:2: the file has a character", id="a bell"),
        pytest.param("a: " + "[" * 5000, "it.yaml:1: the file is nested too deeply", id="a thousand brackets"),
    ],
)  # fmt: skip
def test_text_that_is_no_mapping_is_refused_with_its_line(text: str, problem: str) -> None:
    assert refused(text, Dataset)[0].startswith(problem)


def test_all_mistakes_of_a_file_are_said_at_once_in_the_order_of_its_lines() -> None:
    text = (
        DATASET.replace("volume: traded", "volume: some").replace("2017-07-01", "soon").replace("tick: 0.1", "tick: x")
    )
    assert [line.split(": ")[0] for line in refused(text, Dataset)] == ["it.yaml:5", "it.yaml:8", "it.yaml:15"]


def test_a_problem_carries_its_parts_for_programs() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(edited(Dataset, "volume: traded", "volume: trade"), Dataset, file="it.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key, problem.nearest) == ("it.yaml", 5, "volume", "traded")


@pytest.mark.parametrize(
    ("written", "value"),
    [("on", "on"), ("NO", "NO"), ("24/7", "24/7"), ("5m", "5m"), ("1:30", "1:30"), ("010", "010"), ("2017-07-01", "2017-07-01"),
     ("1e3", 1000.0), ("7", 7), ("-0.5", -0.5), ("true", True), ("~", None), ("'7'", "7")],
)  # fmt: skip
def test_plain_words_stay_words(written: str, value: object) -> None:
    seen = compose(f"a: {written}", file="it.yaml").values["a"]
    assert (seen, type(seen)) == (value, type(value))


def test_whole_numbers_stay_whole_and_decimals_have_no_noise() -> None:
    whole = Parameter(value=20, min=5, max=50, step=15)
    assert (whole.values(), whole.chosen) == ([5, 20, 35, 50], 20)
    assert all(isinstance(value, int) for value in whole.values())
    decimal = Parameter(value=1, min=0.1, max=1, step=0.1)
    assert decimal.values() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert isinstance(decimal.chosen, float)


def test_a_grid_is_the_product_of_its_values_in_the_order_written() -> None:
    text = STRATEGY.replace("max: 200", "max: 100").replace("max: 50, step: 15", "max: 20, step: 15")
    strategy = parse(text, StrategyConfiguration, file="it.yaml")
    assert [tuple(one.values()) for one in strategy.grid()] == [
        (5, 50),
        (5, 75),
        (5, 100),
        (20, 50),
        (20, 75),
        (20, 100),
    ]
    assert strategy.parameters() in strategy.grid()


def test_a_strategy_has_a_key_and_by_default_its_name_as_family() -> None:
    strategy = parse(STRATEGY, StrategyConfiguration, file="it.yaml")
    assert (strategy.key, strategy.trials_family) == ("sma_cross@1.0.0", "sma_cross")
    assert (strategy.walk_forward.in_sample, strategy.walk_forward.anchored) == (60, False)


def test_a_stop_is_needed_by_targets_and_by_risk_per_trade() -> None:
    assert refused(STRATEGY.replace("  stop: {atr: 2, length: 14}\n", ""), StrategyConfiguration) == [
        "it.yaml:14: exits.targets is 'default', expected exits.stop or exits.trail beside it: R is the distance to the stop"
    ]
    without = STRATEGY.replace("  stop: {atr: 2, length: 14}\n  targets: default", "  targets: []")
    assert refused(without, StrategyConfiguration) == [
        "it.yaml:12: size.model is 'risk_per_trade', expected exits.stop beside it: the distance to the stop is the risk"
    ]


def test_default_targets_leave_a_fifth_to_run_at_break_even() -> None:
    default = Exits.model_validate({"stop": {"pct": 0.02}, "targets": "default"})
    assert default.ladder == (Rung(r=1.0, share=0.4), Rung(r=2.5, share=0.4))
    assert default.document["break_even_after"] == 1
    own = Exits.model_validate({"stop": {"pct": 0.02}, "targets": [{"r": 3, "share": 0.5}, {"r": 1, "share": 0.5}]})
    assert [rung.r for rung in own.ladder] == [1.0, 3.0]
    assert "break_even_after" not in own.document


def test_bars_of_a_week_are_refused() -> None:
    text = DATASET[: DATASET.index("features:")].replace("5m\nresample: [1h, 1d]", "1w\nresample: []")
    problem = "it.yaml:6: timeframe is '1w', expected at most 1d: bars are made session by session"
    assert refused(text, Dataset) == [problem]


def test_a_service_level_gives_its_limits_by_rule() -> None:
    section = parse(SLA, SlaPolicy, file="it.yaml").sections["crypto"]
    assert list(section.limits) == ["completeness", "nan", "duplicates", "quarantined", "lateness"]
    assert section.limits["completeness"].from_ == date(2017, 7, 1)
    assert section.resample.min_share == 0.5


def test_a_list_of_nothing_is_refused_where_something_is_needed() -> None:
    text = DATASET[: DATASET.index("instruments:")] + "instruments: []\n"
    assert refused(text, Dataset) == ["it.yaml:10: instruments is a list, expected at least one"]


EXITS = "exits:\n  stop: {atr: 2, length: 14}\n  targets: default\n"
RUNGS = ", ".join(f"{{r: {k}, share: 0.1}}" for k in range(1, 10))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "  targets: default\n", "  targets: default\n  runner_trial: {pct: 0.01}\n",
            "it.yaml:16: unknown key 'exits.runner_trial': did you mean 'runner_trail'?", id="a misspelt exit",
        ),
        pytest.param(
            EXITS, "exits: {stop: {pct: 0.1}, runner_trail: {pct: 0.01}}\n",
            "it.yaml:13: exits.runner_trail is a mapping, expected targets beside it whose shares sum to less than 1: "
            "it trails what is left", id="a runner without targets",
        ),
        pytest.param(
            EXITS, "exits: {stop: {pct: 0.1}, targets: [{r: 1, share: 1}], break_even_after: 1}\n",
            "it.yaml:13: exits.break_even_after is 1, expected at most the targets after which something is left (0)",
            id="break-even of nothing",
        ),
        pytest.param(
            EXITS, f"exits: {{stop: {{pct: 0.1}}, targets: [{RUNGS}]}}\n",
            "it.yaml:13: exits.targets has 9, expected at most 8 targets", id="more targets than there is room for",
        ),
        pytest.param(
            EXITS, "exits: {stop: {pct: 0.1}, targets: [{r: 1, share: 0.5}, {r: 1, share: 0.5}]}\n",
            "it.yaml:13: exits.targets is a list, expected each distance once", id="two targets at one price",
        ),
        pytest.param("costs: bitfinex\n", "costs: bitfinex\nrisk: {}\n",
                     "it.yaml:17: risk is a mapping, expected at least one guard, or no risk at all", id="no guard"),
        pytest.param("costs: bitfinex\n", "costs: bitfinex\nrisk: {max_drawdwon: 0.2}\n",
                     "it.yaml:17: unknown key 'risk.max_drawdwon': did you mean 'max_drawdown'?", id="a misspelt guard"),
        pytest.param("size: {model: risk_per_trade, risk: 0.005, cap: 0.2}\n", "size: {model: risk_parity, days: 1}\n",
                     "it.yaml:12: size.days is 1, expected at least 2", id="too few days"),
        pytest.param("capital: shared", "capital: split", "expected 'shared' or 'sleeves'", id="unknown capital"),
    ],
)  # fmt: skip
def test_what_could_never_act_is_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(STRATEGY.replace(old, new), StrategyConfiguration, file="it.yaml")
    assert said in str(caught.value)


@pytest.mark.parametrize("model", ["inverse_volatility", "risk_parity"])
def test_sleeves_divide_nothing_between_instruments(model: str) -> None:
    text = STRATEGY.replace("capital: shared", "capital: sleeves")
    text = text.replace("size: {model: risk_per_trade, risk: 0.005, cap: 0.2}", f"size: {{model: {model}, days: 5}}")
    with pytest.raises(ConfigurationError, match="capital: shared beside it, as it divides equity between instruments"):
        parse(text, StrategyConfiguration, file="it.yaml")


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        pytest.param("leverage: 3", "expected kind: linear or inverse beside it", id="leverage on spot"),
        pytest.param(
            "kind: linear", "perpetual is missing, expected true or false", id="nobody says if it is perpetual"
        ),
        pytest.param("kind: linear, perpetual: false, margin: cross", "liquidation: binance beside cross", id="cross"),
        pytest.param(
            "kind: inverse, perpetual: false, liquidation: okx", "which is for inverse", id="another's formula"
        ),
    ],
)
def test_terms_of_a_contract_that_mean_nothing_are_refused(terms: str, said: str) -> None:
    text = DATASET.replace("    tier: core\n", "    tier: core\n    " + terms.replace(", ", "\n    ") + "\n")
    with pytest.raises(ConfigurationError) as caught:
        parse(text, Dataset, file="it.yaml")
    assert said in str(caught.value)
