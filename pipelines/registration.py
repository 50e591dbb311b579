"""Registering: a strategy version enters the ledger once, and its two files the lake, as they are then.

1. A version that was never registered is asked what it would compute. One that fails at that stays out, so that it
   can be mended under its own number; its research fails and says why.
2. What passes is kept as a snapshot, and then told to the ledger: hashes of code, configuration and snapshot.
3. A registered version whose files say something else is refused by name until its version is bumped. A comment
   says nothing, and neither does another schema.
4. A version goes on from its snapshot when the file has a newer one; what is in paper, live or halted goes on
   whatever became of its files. Files that are gone take what is in lab with them.

The ledger is the truth; Dagster's dynamic partitions follow it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from hashlib import sha256
from typing import NamedTuple

import dagster as dg

from assets import computed, research
from assets.computed import computed_apart
from assets.partitions import STRATEGIES, WINDOWS
from engine.errors import EngineError
from quality import tables
from quality.errors import ConfigurationError, Problem
from quality.ledger import Draft, Entry, Stage, stages
from resources.errors import BrokenLedgerError, LostWorkerError, UserCodeError
from resources.lake import Lake
from resources.ledger_store import LedgerStore
from resources.market import calendar_of
from resources.project import Project, StrategyDefinition, version_of
from resources.settings import numbers_hash

_KEEPS_GOING: tuple[Stage, ...] = ("paper", "live", "halted")
_examined: dict[tuple[str, ...], str | None] = {}


class Registered(NamedTuple):
    """What the ledger says of a version, and what the lake kept of it."""

    code: str
    configuration: str
    snapshot: "Snapshot | None"


class Snapshot(NamedTuple):
    """The two files of a version, as they were."""

    strategy: str
    signal: str
    configuration: str

    @property
    def content(self) -> str:
        return f"sha256:{sha256(json.dumps(self).encode()).hexdigest()}"

    def read(self, project: Project) -> StrategyDefinition:
        """Held against the project as it is now; ConfigurationError when it cannot be used in it."""
        return version_of(project, text=self.configuration, source=self.signal, label=f"registered/{self.strategy}")


def register(project: Project, lake: Lake, ledger: LedgerStore, *, at: datetime) -> dict[str, str]:
    """Register what is new, and give what could not be, with the reason; ConfigurationError when a version has changed."""
    registered = _registered(lake, ledger.entries())
    changed = [
        _changed(definition, registered[key])
        for key, definition in project.strategies.items()
        if key in registered and not _is_same(project, definition, registered[key])
    ]
    if changed:
        raise ConfigurationError(changed)
    refused = {}
    for key, definition in project.strategies.items():
        if key in registered and registered[key].snapshot is not None:
            continue
        if key not in registered and (reason := _refused(project, lake, definition)):
            refused[key] = reason
            continue
        snapshot = Snapshot(key, definition.source, definition.text)
        row = {**snapshot._asdict(), "content": snapshot.content, "kept_at": at}
        lake.replace("snapshots", tables.frame("snapshots", [row]), strategy=key)
        body = {**_identity(definition), "snapshot": snapshot.content}
        draft = Draft(kind="registered", at=at, by=definition.configuration.author, strategy=key, body={**body})
        ledger.append(draft, only_if=lambda entries, key=key: key not in _told(entries))  # type: ignore[misc]
    return refused


def unchanged(project: Project, lake: Lake, ledger: LedgerStore) -> Project:
    """The project without strategies that are registered otherwise: in a scheduled night each fails alone."""
    registered = _registered(lake, ledger.entries())
    kept = {
        key: definition
        for key, definition in project.strategies.items()
        if key not in registered or _is_same(project, definition, registered[key])
    }
    return project._replace(strategies=kept)


def with_older_versions(project: Project, lake: Lake, ledger: LedgerStore) -> Project:
    """The project, and beside its files' versions those that go on from their snapshots."""
    try:
        entries = ledger.entries()
    except BrokenLedgerError:  # nothing runs until it holds, and whoever asks what is wrong with it has to be told
        return project
    standings = stages(entries, expires_days=project.promotion.evidence_expires_days)
    going_on = {
        key: one.snapshot
        for key, one in _registered(lake, entries).items()
        if one.snapshot is not None and key not in project.strategies and standings[key].stage != "retired"
        if key.split("@")[0] in project.names or standings[key].stage in _KEEPS_GOING
    }
    return _with(project, going_on)


def as_registered(project: Project, lake: Lake, ledger: LedgerStore) -> Project:
    """The project where nobody can be asked: a version whose files say something else goes on as it was registered."""
    try:
        registered = _registered(lake, ledger.entries())
    except BrokenLedgerError:
        return project
    kept = unchanged(project, lake, ledger)
    changed = {key: registered[key] for key in project.strategies.keys() - kept.strategies.keys()}
    problems = [_changed(project.strategies[key], one) for key, one in sorted(changed.items())]
    as_was = {key: one.snapshot for key, one in changed.items() if one.snapshot is not None}
    return _with(kept._replace(left_out=(*kept.left_out, *problems)), as_was)


def partition_requests(project: Project, as_of: Mapping[str, date]) -> list[dg.AddDynamicPartitionsRequest]:
    """The partitions that strategies and complete windows need."""
    windows: set[str] = set()
    for definition in project.strategies.values():
        dataset = project.datasets[definition.configuration.dataset]
        if dataset.name in as_of:
            sessions = calendar_of(project, dataset).sessions(dataset.start, as_of[dataset.name])
            windows |= {window.name for window in research.windows_of(definition, sessions)}
    return [STRATEGIES.build_add_request(list(project.strategies)), WINDOWS.build_add_request(sorted(windows))]


def _with(project: Project, snapshots: Mapping[str, Snapshot]) -> Project:
    """The project with these versions too; those that cannot be used in it any more are left out and named."""
    strategies, problems = dict(project.strategies), list(project.left_out)
    for key, snapshot in sorted(snapshots.items()):
        try:
            strategies[key] = snapshot.read(project)
        except ConfigurationError as error:
            problems += error.problems
    return project._replace(strategies=strategies, left_out=tuple(problems))


def _refused(project: Project, lake: Lake, definition: StrategyDefinition) -> str | None:
    """Why a version cannot even say what it would compute; asked once a process."""
    of = (definition.configuration.key, definition.code_hash, definition.configuration_hash, numbers_hash())
    if of not in _examined:
        try:
            computed_apart(computed.examined, lake, project, definition)
        except LostWorkerError as error:
            return str(error)
        except (EngineError, ConfigurationError, UserCodeError) as error:
            _examined[of] = str(error)
        else:
            _examined[of] = None
    return _examined[of]


def _told(entries: Sequence[Entry]) -> dict[str, dict[str, str]]:
    return {entry.strategy: dict(entry.body) for entry in entries if entry.kind == "registered" and entry.strategy}  # type: ignore[arg-type]


def _registered(lake: Lake, entries: Sequence[Entry]) -> dict[str, Registered]:
    rows = lake.read("snapshots").select(Snapshot._fields).rows()
    kept = {key: Snapshot(key, *texts) for key, *texts in rows}
    return {
        key: Registered(body["code"], body["configuration"], _whole(kept.get(key), body.get("snapshot")))
        for key, body in _told(entries).items()
    }


def _whole(snapshot: Snapshot | None, content: str | None) -> Snapshot | None:
    """One that is not what the ledger says is none."""
    return snapshot if snapshot is not None and content in (None, snapshot.content) else None


def _is_same(project: Project, definition: StrategyDefinition, registered: Registered) -> bool:
    """By the hashes of then; or, where these were made otherwise, by those that the snapshot has now."""
    if _identity(definition) == {"code": registered.code, "configuration": registered.configuration}:
        return True
    if registered.snapshot is None:
        return False
    try:
        return _identity(registered.snapshot.read(project)) == _identity(definition)
    except ConfigurationError:
        return False


def _identity(definition: StrategyDefinition) -> dict[str, str]:
    return {"code": definition.code_hash, "configuration": definition.configuration_hash}


def _changed(definition: StrategyDefinition, before: Registered) -> Problem:
    configuration = definition.configuration
    which = " and ".join(name for name, value in _identity(definition).items() if getattr(before, name) != value)
    return Problem(
        file=f"strategies/{configuration.name}.yaml",
        line=None,
        key="version",
        found=f"{configuration.key} is registered with other {which}",
        expected="a new version: what was decided on a version must stay what it was",
        nearest=None,
    )
