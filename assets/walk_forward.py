"""Walk-forward: chosen in-sample, judged out-of-sample; one partition per strategy version and window."""

import dagster as dg

from assets import computed, inputs, inputs_current, records, research
from assets.backtest import dataset_of, definition_of, market_deps
from assets.computed import computed_apart
from assets.partitions import STRATEGY_WINDOWS
from quality import tables
from resources.lake import Lake
from resources.project import Project


def walk_forwards(project: Project) -> list[dg.AssetsDefinition]:
    @dg.multi_asset(
        name="walk_window",  # a step may not be called as the job is
        specs=[
            dg.AssetSpec(
                "walk_forward",
                deps=market_deps(project),
                group_name="research",
                kinds={"numba", "deltalake"},
                description="One window: the parameter set that was best in-sample, and how it did out-of-sample.",
            )
        ],
        check_specs=[inputs_current.spec(["walk_forward"]), records.attribution_spec(["walk_forward"])],
        partitions_def=STRATEGY_WINDOWS,
    )
    def walk_forward(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        cell = context.partition_key.keys_by_dimension
        key, name = cell["strategy"], cell["window"]
        definition = definition_of(project, key)
        newest = inputs.newest_session(lake, dataset_of(project, definition), context.run.tags)
        window = research.window_called(name, project, definition, newest)
        last = window.out_of_sample[-1]
        of = inputs.held(lake, dataset_of(project, definition))
        current = inputs.research(project, definition, lake, last=last, of=of)

        walked = computed_apart(computed.walk, lake, project, definition, window=window)
        records.write(lake, key, name, walked.written)
        lake.replace("windows", tables.frame("windows", [walked.row]), strategy=key, window=name)
        read = inputs.read_until(of.receipts, last)
        inputs.record(lake, "walk_forward", {f"{key}|{name}": current}, run_id=context.run.run_id, read=read)
        return dg.MaterializeResult(
            check_results=[
                inputs_current.research_check(lake, project, "walk_forward"),
                records.attribution_check(["walk_forward"], walked.explained),
            ],
            metadata={
                "in_sample": f"{window.in_sample[0]} to {window.in_sample[-1]}",
                "out_of_sample": f"{window.out_of_sample[0]} to {window.out_of_sample[-1]}",
                "chosen": walked.row["params"],
                "n_sets": walked.row["n_sets"],
                **walked.columns,
                "oos_net_return": walked.row["oos_net_return"],
                "report": records.report_table(walked.written),
                "candidates": records.candidates_table(walked.written),
                "equity": records.sparkline(walked.returns["equity"].to_list()),
            },
        )

    return [walk_forward]
