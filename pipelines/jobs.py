"""The jobs of a night, in their order. One job per partitions definition, as Dagster wants it."""

from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from quality.datasets import Dataset

Job = UnresolvedAssetJobDefinition
MARKET, IMPORT = "market_", "import_"
RESEARCH, WALK_FORWARD, SCORECARDS = "research", "walk_forward", "scorecards"
CONTROLS, REVIEWS, MAINTENANCE, DATA_DOCS = "controls", "review_promotions", "maintenance", "write_data_docs"
_SELECTED = {
    RESEARCH: (["certificates", "backtest"], "Prove, backtest and count the trials of a strategy version."),
    WALK_FORWARD: (["walk_forward"], "Choose in-sample, judge out-of-sample."),
    SCORECARDS: (["scorecard"], "Measure what the backtest and the windows left."),
    CONTROLS: (["controls", "twin_replay"], "Send the negative controls through the gate, and a sample to the twin."),
    REVIEWS: (["promotion_review"], "Decide whether a strategy version may move up a stage."),
    MAINTENANCE: (["compaction", "warehouse"], "Put the lake in order, then rebuild the warehouse and swap it in."),
    DATA_DOCS: (["data_docs"], "Hold the warehouse against every expectation."),
}


def market_job(dataset: str) -> str:
    return f"{MARKET}{dataset}"


def import_job(dataset: str) -> str:
    return f"{IMPORT}{dataset}"


def jobs(datasets: Mapping[str, Dataset]) -> dict[str, Job]:
    """All jobs by name."""
    files = {
        name: dg.AssetSelection.assets([name, "imported_files"])
        for name, dataset in datasets.items()
        if dataset.takes_files
    }
    market = {
        market_job(name): dg.define_asset_job(
            market_job(name),
            dg.AssetSelection.groups(name) - files[name] if name in files else dg.AssetSelection.groups(name),
            description=f"Ingest, judge and derive {name}.",
        )
        for name in datasets
    }
    imports = {
        import_job(name): dg.define_asset_job(
            import_job(name), imported, description=f"Take in what lies in the inbox of {name}."
        )
        for name, imported in files.items()
    }
    rest = {
        name: dg.define_asset_job(name, dg.AssetSelection.assets(*keys), description=about)
        for name, (keys, about) in _SELECTED.items()
    }
    return {**imports, **market, **rest}
