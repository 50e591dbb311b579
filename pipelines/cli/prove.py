"""`gauntlet prove NAME`: the look-ahead certificate of a strategy version, on the bars that are held.

A certificate that was given to the same code, configuration and engine is shown as it was given; else
all laws are run now, and nothing is written. Exit 0 certified, 1 not, 2 no such strategy or no bars.
"""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quality.lookahead.certificate import Certificate


def prove(
    strategy: Annotated[str, typer.Argument(help="name@version, or a name: its newest version.", metavar="NAME")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Does it look ahead? Every law, kept or broken, and on which bar. Exit 1 when it is not certified."""
    from assets import computed
    from assets.certificates import kept_for
    from assets.inputs import newest_session
    from pipelines.workplace import open_workplace

    workplace = open_workplace()
    project = workplace.project
    definition = project.strategies[version_called(strategy, project.strategies)]
    last = newest_session(workplace.lake, project.datasets[definition.configuration.dataset], {})
    kept = kept_for(workplace.lake, project, definition)
    proved = kept or computed.computed_apart(computed.certificate, workplace.lake, project, definition, last=last)
    if as_json:
        typer.echo(proved.model_dump_json(indent=2))
    else:
        _show(proved, cached=kept is not None)
    raise typer.Exit(0 if proved.certified else 1)


def version_called(name: str, known: "Iterable[str]") -> str:
    """The version that `name@version` is, or the newest of a name; UnknownStrategyError where there is none."""
    from quality.documents import nearest
    from resources.errors import UnknownStrategyError

    keys = [*known]
    if name in keys:
        return name
    versions = [key for key in keys if key.partition("@")[0] == name]
    if versions:
        return max(versions, key=lambda key: tuple(map(int, key.partition("@")[2].split("."))))
    raise UnknownStrategyError(name, keys, nearest(name, [*keys, *(key.partition("@")[0] for key in keys)]))


def _show(proved: "Certificate", *, cached: bool) -> None:
    from pipelines.cli.report import console, rows_table

    on = console()
    outcome = "certified" if proved.certified else "not certified"
    when = ", proved before for the same code, configuration and engine" if cached else ""
    on.print(f"{proved.strategy}: {outcome}, {proved.bars_checked:,} bars cut at{when}", markup=False)
    rows = [
        (
            law.law,
            "kept" if law.passed else "BROKEN",
            "-" if law.first_bar is None else str(law.first_bar),
            law.column or "-",
            law.detail,
        )
        for law in proved.laws
    ]
    on.print(rows_table(("law", "", "first bar", "column", "found"), rows))
