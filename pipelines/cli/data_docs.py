"""`gauntlet data-docs`: what the data sets keep of what was promised, as pages to browse."""

import typer


def data_docs() -> None:
    """Hold the warehouse against every expectation and write Data Docs. Exit 1 when an enforced one is broken."""
    from pipelines.workplace import open_workplace
    from resources import lock
    from resources.data_docs import DataDocs

    workplace = open_workplace()
    docs = DataDocs(path=str(workplace.settings.home / "data_docs"))
    with lock.held(workplace.settings.lock, purpose="gauntlet data-docs", wait=False):
        report = docs.build(workplace.sql, workplace.project)
    for one in report.broken:
        severity = "broken" if one.enforced else "warns"
        typer.echo(f"{severity}  {one.suite}  {one.column}: {len(one.broken):,} of {one.n_checked:,} sessions")
    typer.echo(str(report.page))
    raise typer.Exit(0 if report.passed else 1)
