"""`gauntlet`: everything the factory does, from a terminal. Exit 0 done, 1 refused or broken, 2 used wrongly."""

import sys

import typer

from pipelines.cli import (
    backfill,
    backtest,
    check,
    data_docs,
    diff,
    explain,
    import_actions,
    import_file,
    indicators,
    migrate,
    new,
    night,
    promotion,
    prove,
    retract,
    simulate,
    sql,
    ui,
)

app = typer.Typer(
    help="A research-to-live factory for systematic trading strategies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("new")(new.new)
app.command("backtest")(backtest.backtest)
app.command("nightly")(night.nightly)
app.command("ui")(ui.ui)
app.command("backfill")(backfill.backfill)
app.command("diff")(diff.diff)
app.command("check")(check.check)
app.command("indicator")(indicators.indicator)
app.command("indicators")(indicators.indicators)
app.command("simulate")(simulate.simulate)
app.command("explain")(explain.explain)
app.command("import")(import_file.import_file)
app.command("retract")(retract.retract)
app.command("migrate")(migrate.migrate)
app.command("sql")(sql.sql)
app.command("data-docs")(data_docs.data_docs)
app.command("import-actions")(import_actions.import_actions)
app.command("stages")(promotion.stages)
app.command("review")(promotion.review)
app.command("prove")(prove.prove)
app.add_typer(promotion.ledger, name="ledger")


def main() -> None:
    """Run the command line; what a user can cause ends in a sentence, never in a traceback."""
    try:
        app()
    except Exception as error:
        if not _is_refusal(error):
            raise
        sys.stderr.write(f"{error}\n")
        sys.exit(1 if _is_broken(error) else 2)


def _is_broken(error: Exception) -> bool:
    """Is it what is kept that is wrong, and not what the user typed or wrote?"""
    from quality.errors import ConfigurationError, ContractError
    from resources.errors import BrokenLedgerError, LakeError, UnreadableHeadError

    kept = BrokenLedgerError | UnreadableHeadError | LakeError | ContractError
    return isinstance(error, kept) and not isinstance(error, ConfigurationError)


def _is_refusal(error: Exception) -> bool:
    """Is it a sentence of ours? The trees are imported only now, because help must be quick."""
    from engine.errors import EngineError
    from quality.errors import QualityError
    from resources.errors import ResourceError

    return isinstance(error, EngineError | QualityError | ResourceError)
