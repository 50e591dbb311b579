"""`gauntlet import-actions FILE`: splits and dividends from a factor file; listing and names from a map file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipelines.workplace import Workplace
    from quality.datasets import Dataset, Instrument
    from resources.action_files import FactorFile, MapFile

SHOWN_CHANGES = 20


def import_actions(
    file: Annotated[Path, typer.Argument(help="A factor file or a map file; which, is read from what is in it.")],
    dataset: Annotated[str, typer.Option(help="The data set it is for.")],
    instrument: Annotated[str, typer.Option(help="Of which instrument: an id of the data set.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")] = False,
) -> None:
    """Keep what a factor file states of an instrument; of a map file, say what belongs into the data set's file."""
    from pipelines.run_night import named
    from pipelines.workplace import open_workplace
    from resources.action_files import FactorFile, read_action_file

    workplace = open_workplace()
    into, whose = named(workplace, dataset, instrument)
    read = read_action_file(file)
    _require_its_own(into, whose, read)
    if isinstance(read, FactorFile):
        result = _kept(workplace, into, whose, read)
        sentences = _told(result)
    else:
        result = _listing(whose, read)
        sentences = _advised(into, result)
    typer.echo(json.dumps(result, indent=2) if as_json else sentences)


def _require_its_own(dataset: "Dataset", instrument: "Instrument", read: "FactorFile | MapFile") -> None:
    """Another company's actions look like any: nothing but a name tells them apart. Raises OtherInstrumentError."""
    from resources.action_files import MapFile
    from resources.errors import OtherInstrumentError
    from resources.sources.files_source import answering

    named = answering(read.origin, dataset.instruments, whole=False)
    if isinstance(read, MapFile):
        named = answering(read.name, dataset.instruments, whole=True) or named
    if named and instrument.id not in named:
        raise OtherInstrumentError(read.origin, named, instrument.id)


def _kept(workplace: "Workplace", dataset: "Dataset", instrument: "Instrument", read: "FactorFile") -> dict[str, Any]:
    """Keep the statement, and say what it will change."""
    import polars as pl

    from quality.actions import fold, from_factors, restated
    from quality.suspicions import beside_references
    from resources import lock
    from resources.clock import now
    from resources.market import calendar_of
    from resources.retractions import standing_statements
    from resources.statements import Statement, keep

    calendar, lake = calendar_of(workplace.project, dataset), workplace.lake
    stated = from_factors(read.factors, calendar.sessions(calendar.first, calendar.last))
    statement = Statement(instrument.id, stated, source="factor_file", origin=read.origin)
    with lock.held(workplace.settings.lock, purpose="gauntlet import-actions", wait=False):
        new = keep(lake, dataset.name, [statement], at=now())
        believed = lake.read("corporate_actions", dataset=dataset.name, instrument=instrument.id)
        folded = fold(standing_statements(lake, dataset.name), [instrument])
    changes = restated(believed, folded.actions)
    references = read.factors.select("close", session="date").drop_nulls()
    held = (
        lake.scan("bars", dataset=dataset.name, instrument=instrument.id)
        .join(references.lazy(), on="session", how="semi")
        .sort("ts")
        .group_by("session")
        .agg(pl.col("close").last())
        .collect()
    )
    return {
        "file": read.origin,
        "instrument": instrument.id,
        "splits": stated.filter(stated["kind"] == "split").height,
        "dividends": stated.filter(stated["kind"] == "dividend").height,
        "new": bool(new),
        "suspicious": [found.sentence for found in beside_references(references, held)],
        "changes": [{**row, "ex_date": str(row["ex_date"])} for row in changes.drop("instrument").to_dicts()],
        "set_aside": [
            {**row, "ex_date": str(row["ex_date"])}
            for row in folded.set_aside.select("source", "ex_date", "kind", "value", "reasons").to_dicts()
        ],
    }


def _told(result: dict[str, Any]) -> str:
    changes, aside = result["changes"], result["set_aside"]
    lines = [
        f"{result['file']} states of {result['instrument']}: splits {result['splits']}, dividends {result['dividends']}; "
        + ("kept" if result["new"] else "nothing new, as that was stated before")
    ]
    lines += [f"  suspicious: {found}" for found in result["suspicious"]]
    lines += [f"  set aside: {_action(one)} of {one['source']}: {', '.join(one['reasons'])}" for one in aside]
    lines += [f"  {_action(one)}: {_value(one['old'])} -> {_value(one['new'])}" for one in changes[:SHOWN_CHANGES]]
    lines += [f"  and {len(changes) - SHOWN_CHANGES} more"] if len(changes) > SHOWN_CHANGES else []
    lines.append("Next: `gauntlet nightly` computes anew what follows from it." if changes else "It changes nothing.")
    return "\n".join(lines)


def _action(one: dict[str, Any]) -> str:
    return f"{one['ex_date']} {one['kind']}" + (f" {one['value']:g}" if one.get("value") is not None else "")


def _value(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _listing(instrument: "Instrument", read: "MapFile") -> dict[str, Any]:
    document = instrument.model_dump(mode="json", include={"listed", "delisted", "former"})
    stated = {
        "listed": str(read.listed),
        "delisted": str(read.delisted) if read.delisted else None,
        "former": [{"symbol": one.name, "until": str(one.until)} for one in read.former],
    }
    return {
        "file": read.origin,
        "instrument": instrument.id,
        "name": read.name,
        "stated": stated,
        "configured": document,
        "agrees": stated == document,
    }


def _advised(dataset: "Dataset", result: dict[str, Any]) -> str:
    """What the map file says, as keys of the instrument."""
    stated = result["stated"]
    former = ", ".join(f"{{symbol: {one['symbol']}, until: {one['until']}}}" for one in stated["former"])
    keys = [f"listed: {stated['listed']}"]
    keys += [f"delisted: {stated['delisted']}"] if stated["delisted"] else []
    keys += [f"former: [{former}]"] if former else []
    said = f"{result['file']} calls {result['instrument']} {result['name']} now and says {', '.join(keys)}"
    if result["agrees"]:
        return f"{said}, as datasets/{dataset.name}.yaml does. Nothing to do."
    return f"{said}.\nNothing was changed. Where you agree, write it into datasets/{dataset.name}.yaml beside its id."
