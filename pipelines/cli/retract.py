"""`gauntlet retract DATASET SEQUENCE… --why TEXT`: take a wrong import back."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipelines.retract import Retracted


def retract(
    dataset: Annotated[str, typer.Argument(help="The name of a data set.")],
    sequences: Annotated[list[int], typer.Argument(metavar="SEQUENCE...", help="The numbers of its receipts.")],
    why: Annotated[str, typer.Option(help="The reason, which is kept with it.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")] = False,
) -> None:
    """Let receipts count for nothing from now on; nothing is deleted, and the night makes anew what hung on them."""
    from pipelines.retract import retract as take_back
    from pipelines.workplace import open_workplace

    result = _document(dataset, take_back(open_workplace(), dataset, sequences, why=why))
    typer.echo(json.dumps(result, indent=2) if as_json else _told(result))


def _document(dataset: str, done: "Retracted") -> dict[str, Any]:
    receipts = [
        {
            "sequence": row["sequence"],
            "file": row["origin"],
            "instrument": row["instrument"],
            "first": str(row["first_session"]),
            "last": str(row["last_session"]),
            "rows": row["n_rows"],
        }
        for row in done.receipts.iter_rows(named=True)
    ]
    return {
        "dataset": dataset,
        "retracted": receipts,
        "statements": done.n_statements,
        "next": f"gauntlet nightly --dataset {dataset}",
    }


def _told(result: dict[str, Any]) -> str:
    lines = [
        f"retracted receipt {one['sequence']} of {result['dataset']}: {one['file']}, {one['rows']:,} rows of "
        f"{one['instrument']}, {one['first']} to {one['last']}"
        for one in result["retracted"]
    ]
    if result["statements"]:
        lines.append(f"and {result['statements']} of their statements of corporate actions")
    return "\n".join([*lines, f"next: {result['next']} makes anew what hung on that"])
