"""Everything a night works with, opened once: the project as written, and handles to what is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipelines.registration import as_registered, with_older_versions
from resources.data_docs import DataDocs
from resources.inbox import require_own_inboxes
from resources.lake import Lake
from resources.ledger_store import Ledger
from resources.project import Project, load, load_unattended
from resources.settings import Settings, prepare
from resources.sources.registry import Sources
from resources.warehouse import Warehouse


class Workplace(NamedTuple):
    settings: Settings
    project: Project
    lake: Lake
    ledger: Ledger
    sources: Sources
    sql: Warehouse

    @property
    def resources(self) -> dict[str, object]:
        """By the names that assets ask for."""
        docs = DataDocs(path=str(self.settings.home / "data_docs"))
        return {"lake": self.lake, "ledger": self.ledger, "sources": self.sources, "sql": self.sql, "docs": docs}


def open_workplace() -> Workplace:
    """Of this environment, for somebody at a terminal.

    Raises ConfigurationError when a file of the project is wrong, UnusableInboxError when an inbox is where none may be.
    """
    return _opened(load)


def open_unattended() -> Workplace:
    """Of this environment, for Dagster: a strategy whose files are wrong is left out alone, or goes on as registered.

    Raises ConfigurationError when a data set or a policy is wrong, UnusableInboxError as above.
    """
    workplace = _opened(load_unattended)
    project = as_registered(workplace.project, workplace.lake, workplace.ledger.store())
    return workplace._replace(project=project)


def _opened(read: Callable[[Path], Project]) -> Workplace:
    settings = prepare()
    project = read(settings.project)
    require_own_inboxes(project.datasets.values(), settings)
    lake = Lake(root=str(settings.lake), lock_path=str(settings.lock))
    ledger = Ledger(root=str(settings.ledger), home=str(settings.home))
    return Workplace(
        settings=settings,
        project=with_older_versions(project, lake, ledger.store()),
        lake=lake,
        ledger=ledger,
        sources=Sources(),
        sql=Warehouse(path=str(settings.warehouse)),
    )
