"""Dagster's event log in SQLite, with its connections kept open.

Dagster 1.13 makes a new SQLAlchemy engine and connection for every statement, so every event pays
for opening a file, compiling its SQL anew and waiting for the disk. A first night records some
4,000 events; see docs/decisions/0003-event-log.md for what this saves. Everything else is
Dagster's own class, whose private `_connect` this replaces: the exact version is pinned.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

KEPT = 8
"""Databases kept open: there is one for all assets and one for each run."""


class KeptOpenSqliteEventLog(SqliteEventLogStorage):
    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "KeptOpenSqliteEventLog":
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def wipe(self) -> None:
        self._close_all()  # what is kept open of a file that is deleted would go on writing into nothing
        super().wipe()

    def dispose(self) -> None:
        super().dispose()
        self._close_all()

    def _close_all(self) -> None:
        while self._engines:
            self._engines.popitem()[1].dispose()

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            event.listen(engine, "connect", _commit_without_waiting)
            self._engines[shard] = engine
            if len(self._engines) > KEPT:
                self._engines.popitem(last=False)[1].dispose()
        self._engines.move_to_end(shard)
        return self._engines[shard]


def _commit_without_waiting(connection: Any, _: object) -> None:
    """With a write-ahead log this loses nothing when a process is killed, only what a power cut catches in flight."""
    connection.execute("PRAGMA synchronous=NORMAL")
