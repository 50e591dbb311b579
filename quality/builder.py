"""A strategy's YAML written in Python, section by section.

    draft = (
        strategy("volume_breakout", author="founders", dataset="crypto_5m", timeframe="1h")
        .instruments({"tier": "core"})
        .signal("breakout", length=grid(20, least=10, most=30, step=10))
        .size("risk_per_trade", risk=0.005, cap=0.2)
        .exits(stop={"atr": 2, "length": 14}, targets="default")
        .regimes("trend", min_confidence=0.6)
        .costs("bitfinex")
        .walk_forward(in_sample="60d", out_of_sample="20d", purge="1d")
    )

A draft is a value, and every method gives a new one in which its section is said anew; so parts that several strategies
share are functions from draft to draft. `configuration` reads what `yaml` writes, by the reader that reads files: the
same is refused, in the same words, and what is equal has one hash.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from quality.configuration import Number, parse
from quality.sizing import SIGNAL
from quality.strategies import StrategyConfiguration

_ORDER = [field.alias or name for name, field in StrategyConfiguration.model_fields.items()]


def strategy(name: str, *, author: str, dataset: str, timeframe: str, version: str = "1.0.0") -> "Draft":
    """A draft on all instruments with an account of 100,000 in dollars; the methods say what is other."""
    said = {"schema": 1, "name": name, "version": version, "author": author, "dataset": dataset, "timeframe": timeframe}
    return Draft(said).instruments("all").account(cash=100_000, currency="USD", capital="shared")


def grid(value: Number, *, least: Number, most: Number, step: Number) -> dict[str, Number]:
    """A value that a walk-forward chooses among others: `least + k * step` up to `most`."""
    return {"value": value, "min": least, "max": most, "step": step}


@dataclass(frozen=True)
class Draft:
    """What has been said so far, as the file would say it."""

    document: Mapping[str, Any]

    def family(self, name: str) -> "Draft":
        return self._said("family", name)

    def instruments(self, which: Any) -> "Draft":
        """`all`, a list of ids, or `{"tier": NAME}`."""
        return self._said("instruments", which)

    def account(self, *, cash: Number, currency: str, capital: str) -> "Draft":
        return self._said("account", {"cash": cash, "currency": currency, "capital": capital})

    def params(self, **grids: Mapping[str, Number]) -> "Draft":
        """The parameters of a signal in Python, each a `grid`."""
        return self._said("params", grids)

    def signal(self, name: str, **settings: Number | Mapping[str, Number]) -> "Draft":
        """Switch a signal class on, beside those that are; each setting a value or a `grid`."""
        return self._said("signals", {**self.document.get("signals", {}), name: settings})

    def size(self, model: str, **terms: Any) -> "Draft":
        """One of quality/sizing.py; or `signal`, where a strategy in Python says targets or weights."""
        return self._said("size", model if model == SIGNAL else {"model": model, **terms})

    def exits(self, **exits: Any) -> "Draft":
        return self._said("exits", exits)

    def order(self, **terms: Any) -> "Draft":
        return self._said("order", terms)

    def regimes(self, *allowed: str, **terms: Any) -> "Draft":
        return self._said("regimes", {"allowed": list(allowed), **terms})

    def risk(self, section: str | None = None, **guards: Any) -> "Draft":
        """A section of policies/risk.yaml, or guards of its own."""
        return self._said("risk", guards if section is None else section)

    def costs(self, section: str) -> "Draft":
        return self._said("costs", section)

    def fx(self, **series: str) -> "Draft":
        return self._said("fx", series)

    def magnify(self, timeframe: str) -> "Draft":
        return self._said("magnify", timeframe)

    def walk_forward(self, **lengths: Any) -> "Draft":
        return self._said("walk_forward", lengths)

    def yaml(self) -> str:
        """The file, its sections in the order in which the contract has them."""
        ordered = sorted(self.document.items(), key=lambda item: _ORDER.index(item[0]))
        written: str = yaml.safe_dump(dict(ordered), sort_keys=False, default_flow_style=None, width=120)
        return written

    def configuration(self) -> StrategyConfiguration:
        """The configuration that the file would have; ConfigurationError with every problem and its line in `yaml`."""
        return parse(self.yaml(), StrategyConfiguration, file=f"strategies/{self.document['name']}.yaml")

    def _said(self, section: str, value: Any) -> "Draft":
        return replace(self, document={**self.document, section: value})
