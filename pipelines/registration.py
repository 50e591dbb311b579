"""Registering: a strategy version enters the ledger once, with the code and configuration it had.

A registered version whose code or configuration changed is refused until its version is bumped.
The ledger is the truth; Dagster's dynamic partitions follow it.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import dagster as dg

from assets import research
from assets.partitions import STRATEGIES, WINDOWS
from quality.errors import ConfigurationError, Problem
from quality.ledger import Draft, Entry
from resources.ledger_store import LedgerStore
from resources.market import calendar_of
from resources.project import Project, StrategyDefinition


def register(project: Project, ledger: LedgerStore, *, at: datetime) -> tuple[str, ...]:
    """Append what is new, and give the keys of all that the project has; ConfigurationError when one has changed."""
    registered = _registered(ledger.entries())
    changed = [
        _changed(definition, registered[key])
        for key, definition in project.strategies.items()
        if key in registered and registered[key] != _identity(definition)
    ]
    if changed:
        raise ConfigurationError(changed)
    for key, definition in project.strategies.items():
        draft = Draft(
            kind="registered", at=at, by=definition.configuration.author, strategy=key, body={**_identity(definition)}
        )
        ledger.append(draft, only_if=lambda entries, key=key: key not in _registered(entries))  # type: ignore[misc]
    return tuple(project.strategies)


def unchanged(project: Project, ledger: LedgerStore) -> Project:
    """The project without strategies that are registered otherwise: in a scheduled night each fails alone."""
    registered = _registered(ledger.entries())
    kept = {
        key: definition
        for key, definition in project.strategies.items()
        if registered.get(key, _identity(definition)) == _identity(definition)
    }
    return project._replace(strategies=kept)


def partition_requests(project: Project, as_of: Mapping[str, date]) -> list[dg.AddDynamicPartitionsRequest]:
    """The partitions that strategies and complete windows need."""
    windows: set[str] = set()
    for definition in project.strategies.values():
        dataset = project.datasets[definition.configuration.dataset]
        if dataset.name in as_of:
            sessions = calendar_of(project, dataset).sessions(dataset.start, as_of[dataset.name])
            windows |= {window.name for window in research.windows_of(definition, sessions)}
    return [STRATEGIES.build_add_request(list(project.strategies)), WINDOWS.build_add_request(sorted(windows))]


def _registered(entries: Sequence[Entry]) -> dict[str, dict[str, str]]:
    return {entry.strategy: dict(entry.body) for entry in entries if entry.kind == "registered" and entry.strategy}  # type: ignore[arg-type]


def _identity(definition: StrategyDefinition) -> dict[str, str]:
    return {"code": definition.code_hash, "configuration": definition.configuration_hash}


def _changed(definition: StrategyDefinition, before: Mapping[str, str]) -> Problem:
    configuration = definition.configuration
    which = " and ".join(name for name, value in _identity(definition).items() if before[name] != value)
    return Problem(
        file=f"strategies/{configuration.name}.yaml",
        line=None,
        key="version",
        found=f"{configuration.key} is registered with other {which}",
        expected="a new version: what was decided on a version must stay what it was",
        nearest=None,
    )
