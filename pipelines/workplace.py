"""Everything a night works with, opened once: the project as written, and handles to what is kept."""

from typing import NamedTuple

from resources.data_docs import DataDocs
from resources.inbox import require_own_inboxes
from resources.lake import Lake
from resources.ledger_store import Ledger
from resources.project import Project, load
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
    """Of this environment.

    Raises ConfigurationError when a file of the project is wrong, UnusableInboxError when an inbox is where none may be.
    """
    settings = prepare()
    project = load(settings.project)
    require_own_inboxes(project.datasets.values(), settings)
    return Workplace(
        settings=settings,
        project=project,
        lake=Lake(root=str(settings.lake), lock_path=str(settings.lock)),
        ledger=Ledger(root=str(settings.ledger), home=str(settings.home)),
        sources=Sources(),
        sql=Warehouse(path=str(settings.warehouse)),
    )
