"""`gauntlet sql "SELECT …"`: a question to the warehouse, or to the lake as it is now."""

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from resources.warehouse import Answer

SHOWN_ROWS = 100


def sql(
    query: Annotated[str, typer.Argument(help="One query; `SHOW TABLES` lists the tables.")],
    *,
    lake: Annotated[bool, typer.Option("--lake", help="Ask the lake as it is now, not the last night's file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every row, as a list of objects.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Every row, as CSV with a header.")] = False,
) -> None:
    """Ask the warehouse in SQL. Reads only; a table shows the first rows, --json and --csv write all."""
    from resources.warehouse import ask

    if as_json and as_csv:
        msg = "--json and --csv are two formats: name one"
        raise typer.BadParameter(msg)
    with _opened(lake=lake) as connection:
        answer = ask(connection, query)
        if as_json:
            _write_json(answer)
        elif as_csv:
            _write_csv(answer)
        else:
            _print_table(answer)


def _opened(*, lake: bool) -> "AbstractContextManager[DuckDBPyConnection]":
    from resources.lake import Lake
    from resources.settings import settings
    from resources.warehouse import Warehouse

    where = settings()
    warehouse = Warehouse(path=str(where.warehouse))
    return warehouse.over(Lake(root=str(where.lake), lock_path=str(where.lock))) if lake else warehouse.reader()


def _write_json(answer: "Answer") -> None:
    names = _distinct(answer.columns)
    before = "[\n"
    for row in answer.rows:
        one = {name: _plain(value) for name, value in zip(names, row, strict=True)}
        sys.stdout.write(before + json.dumps(one, ensure_ascii=False))
        before = ",\n"
    sys.stdout.write("[]\n" if before == "[\n" else "\n]\n")


def _write_csv(answer: "Answer") -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(answer.columns)
    out.writerows([_cell(value) for value in row] for row in answer.rows)


def _print_table(answer: "Answer") -> None:
    from pipelines.cli.report import console, rows_table

    shown = [[_cell(value) for value in row] for row in islice(answer.rows, SHOWN_ROWS)]
    console().print(rows_table(answer.columns, shown))
    if next(answer.rows, None) is not None:
        typer.echo(
            f"the first {SHOWN_ROWS} rows of more: --csv and --json write all, a LIMIT in the query fewer", err=True
        )


def _distinct(columns: Sequence[str]) -> list[str]:
    """An object cannot have a key twice, and a query may name two columns alike."""
    seen: Counter[str] = Counter()
    names = []
    for column in columns:
        names.append(f"{column}_{seen[column]}" if seen[column] else column)
        seen[column] += 1
    return names


def _cell(value: Any) -> str:
    """As text can say it: NaN and infinities by their names, so that nothing but null is blank."""
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(float(value))
    plain = _plain(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """As JSON can say it: what is no finite number is null, a moment is ISO 8601 in UTC."""
    match value:
        case None | bool() | int() | str():
            plain: Any = value
        case float() | Decimal():
            plain = float(value) if math.isfinite(value) else None
        case datetime() if value.tzinfo:
            plain = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            plain = value.isoformat()
        case list() | tuple():
            plain = [_plain(one) for one in value]
        case dict():
            plain = {str(key): _plain(one) for key, one in value.items()}
        case _:
            plain = str(value)
    return plain
