"""The project: what people wrote in datasets/, strategies/ and policies/, held together.

1. Every file is read by itself: YAML into its model, a strategy's Python into its class.
2. What could be read is held against the rest: names that must exist, values that must fit.
3. Any problem at all, and one ConfigurationError says every one of them, by file and line; so
   whoever has a Project has one that is whole.

A strategy is two files of one name. Its Python runs here once, straight from the text that is
hashed: compiled files are never read or written, as they could be of another text.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from engine.strategy import Strategy
from quality import references
from quality.configuration import read
from quality.datasets import Dataset
from quality.documents import Document, compose, nearest
from quality.errors import ConfigurationError, Problem, Refusal
from quality.hashes import code_hash, document_hash
from quality.policies import CalendarsPolicy, Correction, Costs, CostsPolicy, ServiceLevel, SlaPolicy
from quality.promotion import PromotionPolicy
from quality.strategies import StrategyConfiguration

Model = TypeVar("Model", bound=BaseModel)


class StrategyDefinition(NamedTuple):
    """One strategy version: what its two files say, and the identity of each."""

    configuration: StrategyConfiguration
    signal: type[Strategy]
    source: str  # of the signal
    code_hash: str
    configuration_hash: str


class Project(NamedTuple):
    datasets: Mapping[str, Dataset]  # by name
    strategies: Mapping[str, StrategyDefinition]  # by name@version
    sla: Mapping[str, ServiceLevel]  # by section, as the costs
    costs: Mapping[str, Costs]
    corrections: Mapping[str, tuple[Correction, ...]]  # by calendar
    promotion: PromotionPolicy


class _Read(NamedTuple, Generic[Model]):
    document: Document
    model: Model


class _Signal(NamedTuple):
    strategy: type[Strategy]
    source: str


class _Policies(NamedTuple):
    sla: _Read[SlaPolicy] | None
    costs: _Read[CostsPolicy] | None
    calendars: _Read[CalendarsPolicy] | None
    promotion: _Read[PromotionPolicy] | None


def load(root: Path) -> Project:
    """Read the project under `root`.

    Raises:
        ConfigurationError: with every problem of every file, by file and line.
    """
    problems: list[Problem] = [problem for folder in ("datasets", "strategies", "policies") for problem in _folder(root, folder)]
    policies = _Policies(
        _policy(root, "sla", SlaPolicy, problems),
        _policy(root, "costs", CostsPolicy, problems),
        _policy(root, "calendars", CalendarsPolicy, problems),
        _policy(root, "promotion", PromotionPolicy, problems),
    )
    datasets = {path.stem: _yaml(root, path, Dataset, problems) for path in _files(root, "datasets", ".yaml")}
    configurations = {
        path.stem: _yaml(root, path, StrategyConfiguration, problems) for path in _files(root, "strategies", ".yaml")
    }
    signals = {path.stem: _python(root, path, problems) for path in _files(root, "strategies", ".py")}
    problems += _policy_problems(policies)
    problems += _dataset_problems(datasets, policies)
    problems += _strategy_problems(configurations, signals, datasets, policies)
    if problems or None in policies:
        raise ConfigurationError(sorted(problems, key=lambda problem: (problem.file, problem.line or 0)))
    return _project(datasets, configurations, signals, policies)
