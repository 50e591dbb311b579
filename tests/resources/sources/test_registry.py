"""A data set's kind of source opens it, and what it asks of a source that cannot be is said with the place."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from quality.configuration import parse
from quality.datasets import Dataset, Defects, Source
from quality.errors import ConfigurationError
from resources.sources.ccxt_source import CcxtSource
from resources.sources.files_source import FilesSource
from resources.sources.http_daily_source import HttpDailySource
from resources.sources.registry import Sources, open_source, refusals
from resources.sources.sample_source import SampleSource
from resources.sources.synthetic_source import SyntheticSource
from tests.fakes import small_dataset
from tests.small_project import CHECKOUT


def dataset(source: dict[str, Any], **changes: Any) -> Dataset:
    return small_dataset("BTCUSD.BITFINEX", name="crypto_5m", source=source, **changes)


@pytest.mark.parametrize(
    ("source", "opened"),
    [
        ({"kind": "sample"}, SampleSource),
        ({"kind": "files"}, FilesSource),
        ({"kind": "ccxt", "exchange": "binance"}, CcxtSource),
        ({"kind": "http_daily"}, HttpDailySource),
        ({"kind": "synthetic", "seed": 3, "defects": {"missing": 0.01}}, SyntheticSource),
    ],
)
def test_a_data_sets_kind_of_source_opens_it(source: dict[str, Any], opened: type) -> None:
    assert isinstance(open_source(dataset(source)), opened)
    assert isinstance(Sources().open(dataset(source)), opened)
    assert list(refusals(dataset(source), project=CHECKOUT)) == []


def test_an_exchange_that_ccxt_does_not_have_is_refused_with_the_nearest() -> None:
    (refusal,) = refusals(dataset({"kind": "ccxt", "exchange": "binanze"}), project=CHECKOUT)
    assert refusal.at == ("source", "exchange")
    assert refusal.nearest == "binance"


def test_an_instrument_that_is_not_embedded_is_refused() -> None:
    (refusal,) = refusals(small_dataset("BTCUSD.KRAKEN", name="crypto_5m"), project=CHECKOUT)
    assert refusal.at == ("instruments", 0, "id")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param("{kind: carrier_pigeon}", r"2: source\.kind is 'carrier_pigeon', expected .*'ccxt'", id="a kind"),
        pytest.param("{kind: ccxt, exchang: binance}", r"did you mean 'exchange'\?", id="a key"),
        pytest.param("{kind: synthetic, defects: {mising: 0.1}}", r"did you mean 'missing'\?", id="a defect"),
        pytest.param("{kind: synthetic, defects: {late: 2}}", r"source\.defects\.late is 2, .*at most 1", id="a share"),
        pytest.param("{kind: files, label: end}", r"source\.label is 'end', .*'open' or 'close'", id="a label"),
        pytest.param("{kind: http_daily, url: 'https://me:pass@a.b'}", r"without a user", id="a secret in an address"),
        pytest.param("{kind: http_daily, url: 'https://a.b/?key=1'}", r"a query", id="a key in an address"),
        pytest.param("{kind: http_daily, url: 'file:///etc'}", r"an http or https address", id="no address"),
        pytest.param("{kind: http_daily}", r"timeframe is '5m', expected 1d", id="intraday from a daily source"),
        pytest.param("{kind: ccxt, exchange: binance}", r"calendar is 'XNYS', expected 24/7", id="sessions of ccxt"),
    ],
)
def test_what_a_source_cannot_be_is_refused_with_its_place(source: str, said: str) -> None:
    text = f"""name: crypto_5m
source: {source}
schema: 1
calendar: XNYS
volume: traded
timeframe: 5m
resample: []
start: 2020-01-01
sla: s
instruments: [{{id: A.B, symbol: a, quote: USD, settle: USD, tick: 1, lot: 1, min_notional: 0, tier: t}}]
"""
    with pytest.raises(ConfigurationError, match=said):
        parse(text, Dataset, file="datasets/crypto_5m.yaml")


GUIDE = (Path(__file__).parents[3] / "docs/guides/sources.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
def test_every_example_of_the_guide_is_a_source(example: str) -> None:
    daily = dataset({"kind": "sample"}, timeframe="1d")
    assert Dataset.model_validate({**daily.model_dump(by_alias=True), **yaml.safe_load(example)}).source


def test_the_guide_has_every_kind_of_source_and_every_defect() -> None:
    kinds = {source.model_fields["kind"].annotation.__args__[0] for source in Source.__origin__.__args__}
    first_cells = set(re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE))
    assert first_cells == kinds | set(Defects.model_fields)
