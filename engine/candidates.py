"""What a strategy's gate was asked: every candidate with its score, and every reason why one was refused.

The same columns as the decisions, read once more: a candidate that is not refused is the entry that
was decided on that close. Strategies without a gate have no candidates.
"""

from datetime import date

import polars as pl

from engine.backtest import Plan
from engine.bars import UTC_US
from engine.causal import Column
from engine.evaluation import Frames, Memo, evaluate
from engine.history import History
from engine.scorer import SIDES, Components, Gated, refusals
from engine.strategy import ALONE, Market, Strategy, asked, is_warm

_NUMBERS = ("score", *Components._fields, "bias")
COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "ts": UTC_US,
    "side": pl.String,
    "setup": pl.String,
    "at_least": pl.Float64,
    **dict.fromkeys(_NUMBERS, pl.Float64),
    "weights": pl.List(pl.Float64),
    "refused": pl.List(pl.String),
}


def candidates(strategy: Strategy, frames: Frames, timeframe: str, market: Market = ALONE) -> pl.DataFrame:
    """One row for each setup that held on a bar of one instrument, once the strategy was warm; arguments as `decide`.

    Returns:
        `COLUMNS`, by `ts`: numbers are null where they were not known, `weights` are shares in the order of the
        components, `refused` is empty where the gate let it pass.
    """
    signals = asked(strategy, frames, timeframe)
    if signals.gated is None:
        return pl.DataFrame(schema=COLUMNS)
    values = evaluate(signals.said | _asked(signals.gated), frames, timeframe, **market._asdict())
    return _told(signals.gated, values.filter(is_warm(signals.said)))


def all_candidates(
    strategy: Strategy,
    history: History,
    plan: Plan,
    *,
    within: tuple[date, date] | None = None,
    memo: Memo | None = None,
) -> pl.DataFrame:
    """Those of all instruments of the plan, `instrument` before the other columns; of the sessions `within`, both included."""
    peers = [instrument.id for instrument in plan.instruments]
    found = []
    for instrument in peers:
        frames = history.frames[instrument]
        market = Market(instrument, history.frames, peers, history.members, memo)
        own = candidates(strategy, frames, plan.timeframe, market)
        if within is not None:
            sessions = frames[plan.timeframe].select("ts", "session").filter(pl.col("session").is_between(*within))
            own = own.join(sessions, on="ts", how="semi", maintain_order="left")
        found.append(own.select(pl.lit(instrument).alias("instrument"), *COLUMNS))
    return pl.concat(found)


def _asked(gated: Gated) -> dict[str, Column]:
    columns = {"bias asked": gated.bias}
    for side, of in gated.sides.items():
        columns |= {f"{name} {SIDES[side]}": column for name, column in of.components._asdict().items()}
        columns[f"score {SIDES[side]}"] = of.score
        columns |= {
            f"holds {name} {SIDES[side]}": setup.long if side > 0 else setup.short
            for name, setup in gated.asked.items()
        }
    return columns


def _told(gated: Gated, values: pl.DataFrame) -> pl.DataFrame:
    weights = list(gated.weights.shares)
    rows = [
        {
            "ts": bar["ts"],
            "side": word,
            "setup": name,
            "at_least": setup.at_least,
            "score": bar[f"score {word}"],
            **{component: bar[f"{component} {word}"] for component in Components._fields},
            "bias": bar["bias asked"],
            "weights": weights,
            "refused": refusals(bar[f"score {word}"], bar["bias asked"], side=side, at_least=setup.at_least),
        }
        for side, word in SIDES.items()
        for name, setup in gated.asked.items()
        for bar in values.filter(pl.col(f"holds {name} {word}")).iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=COLUMNS).sort("ts", maintain_order=True)
