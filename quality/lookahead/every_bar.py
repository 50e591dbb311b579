"""The prefix law and the warm-up law at every bar, made affordable by proving a column node by node.

Cutting the data of a whole strategy at each of 140 thousand bars would take two minutes. A column is
a tree, and its nodes are proved one at a time, each on the values that its operands really have. A
node is cheap to cut: what it remembers is what it declares (`lookback`, `forgets`), which for
most is nothing or a window. If no node uses what comes after a bar, no column does.

1. What each bar's node remembers, by its own declaration, is laid end to end for all bars and computed
   in one call. After each cut come another cut's bars there, and not those that followed. Where the
   value is bit for bit that of the whole series, both laws are proved for the bar.
2. What differs is rounding, a cheat or a wrong declaration. Those bars are cut again in blocks of 32.
   All cuts of a block start on the same bar; so does the run which they are compared with, that goes
   on for 8 bars after the block. Both compute the same sums in the same order and are compared
   exactly: there is no tolerance for a cheat to hide in, and no false alarm from rounding.
3. What is said with the declared memory alone is compared with the whole series' value, to 1e-8. That is
   the warm-up law, and the prefix law for what lies farther ahead than a block.
4. At 16 bars the node is computed on everything up to there, and all of it compared exactly: what was
   said of the past is not said otherwise later.

Compiled functions (TA-Lib) cost a call for each cut in a block, so for these step 2 is done at 4,000
of the bars, and for the engine's own kernels, loops that are proved by its tests, at 500; steps 1 and 3
at all. What groups the bars itself (by session) has to be computed cut by cut, and is cut at 1,000 bars. Nodes that are cumulative from the start of
the series have no warm-up: they are cut in blocks with 64 bars of memory, and steps 1 and 3 are left out.

`alignment` is proved with the same values: what a bar sees of a longer timeframe or of another
instrument must be the newest bar there that has closed, found by another way than the engine's.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import timeframe_us
from engine.causal import Column
from quality.lookahead.laws import Law, broken, held
from quality.lookahead.market import Market
from quality.lookahead.polars_nodes import is_compiled, is_grouped

BLOCK = 32
BEYOND = 8
ANCHORED_BARS = 64
WHOLE_CUTS = 16
COMPILED_CUTS = 4_000
KERNEL_CUTS = 500
GROUPED_CUTS = 1_000
RELATIVE = 1e-8
THREADS = 2
_ROWS = 1_000_000  # of cuts that are computed at once: what fits into a processor's cache

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Node(NamedTuple):
    """One node on its own bars: what it is computed from, and its values with all data there are."""

    column: Column
    of: str  # the column of the strategy that it was found in
    expression: pl.Expr
    inputs: pl.DataFrame
    values: pl.Series
    known_at: pl.Series

    @property
    def memory(self) -> int:
        """Bars before a cut that are kept."""
        return max(self.column.lookback + self.column.forgets, ANCHORED_BARS * self.is_anchored)

    @property
    def is_anchored(self) -> bool:
        """Is it not bound by the warm-up law? What is read off the bars themselves declares nothing."""
        return self.column.anchored or not self.column.operands

    @property
    def is_grouped(self) -> bool:
        """Does its expression group the bars itself? Then it cannot be computed on many cuts at once."""
        return self.column.kernel is None and is_grouped(self.expression)


class Break(NamedTuple):
    """Where a node breaks a law, and how."""

    node: Node
    bar: int
    seen: Any  # on data cut there
    expected: Any
    why: str


def every_bar(columns: Mapping[str, Column], market: Market, timeframe: str) -> list[Law]:
    """Prove `prefix`, `warm_up` and `alignment` for what a strategy says, at every bar.

    Args:
        columns: by name, all of them on `timeframe` or a longer one.
        market: the bars.
        timeframe: the one the strategy runs on; bars are counted on it.

    Returns:
        The three laws. The first bar is that on which the first broken node breaks, or the one that sees it.
    """
    clock = market.bars(timeframe)["known_at"]
    if clock.is_empty():
        return [broken(law, "there is no bar to check") for law in ("prefix", "warm_up", "alignment")]
    nodes, misaligned = computed(columns, market, timeframe)
    found: dict[str, list[Break]] = {"prefix": [], "warm_up": [], "alignment": misaligned}
    with ThreadPoolExecutor(THREADS) as pool:  # polars computes without the interpreter's lock
        for law, one in chain.from_iterable(pool.map(lambda node: [*_proved(node)], nodes)):
            found[law].append(one)
    found["prefix"] += _unlike_the_engine(nodes, columns, market, timeframe)
    early = closed_early(market, timeframe)
    bars = sum(node.values.len() for node in nodes)
    told = {
        "prefix": f"{len(nodes)} nodes cut at every one of {clock.len()} bars ({bars} values) are as with later data",
        "warm_up": f"{len(nodes)} nodes say the same without what is older than their warm-up, at every bar",
        "alignment": "what is seen of other bars is the newest that has closed, at every bar",
    }
    laws = [_law(law, breaks, clock, told[law]) for law, breaks in found.items()]
    return [early if early and law.law == "alignment" else law for law in laws]


def computed(columns: Mapping[str, Column], market: Market, timeframe: str) -> tuple[list[Node], list[Break]]:
    """Every node that computes something, with its values, and where an operand is not what was known by then."""
    series: dict[str, pl.Series] = {}
    nodes, misaligned = [], []
    for name, column in columns.items():
        for key, one in column.walk().items():
            if key in series:
                continue
            place = _place(one, market)
            operands = []
            for operand in one.operands:
                if _place(operand, market) == place:
                    operands.append(series[operand.key])
                else:
                    seen, wrong = aligned(operand, place, market, of=name)
                    operands.append(seen)
                    misaligned += wrong
            node = _node(one, name, operands, market)
            series[key] = node.values
            if not _is_plain(node):
                nodes.append(node)
        if _place(column, market) != (market.instrument, timeframe):
            misaligned += aligned(column, (market.instrument, timeframe), market, of=name)[1]
    return nodes, misaligned


def _place(column: Column, market: Market) -> tuple[str, str]:
    return column.instrument or market.instrument, column.timeframe


def _is_plain(node: Node) -> bool:
    """Is it a column of the bars as it stands, or a number?"""
    return (not node.column.operands and node.expression.meta.is_column()) or node.expression.meta.is_literal()


def _node(column: Column, of: str, operands: list[pl.Series], market: Market) -> Node:
    instrument, timeframe = _place(column, market)
    frame = market.frames[instrument][timeframe]
    names = [f"operand {n}" for n in range(len(operands))]
    beside = frame.with_columns(values.alias(name) for name, values in zip(names, operands, strict=True))
    if column.across is not None:
        beside, peers = _with_peers(column, beside, market)
        expression = column.across([pl.col(peer) for peer in peers], pl.col(f"value of {instrument}"))
    else:
        expression = column.function(*map(pl.col, names))
    inputs = beside.select(*dict.fromkeys(expression.meta.root_names()))
    if not inputs.width:
        inputs = frame.select("known_at")
    values = inputs.with_columns(expression.alias("value"))["value"]
    return Node(column, of, expression, inputs, values, frame["known_at"])


def _with_peers(column: Column, beside: pl.DataFrame, market: Market) -> tuple[pl.DataFrame, list[str]]:
    """What every instrument says at the instants of these bars, laid beside them."""
    (operand,) = column.operands
    names = []
    for peer in market.asked:
        if column.timeframe in market.frames[peer]:
            names.append(f"value of {peer}")
            said = market.computed({names[-1]: operand}, (peer, column.timeframe))
            if market.members is not None:
                own = market.members.filter(pl.col("instrument") == peer)
                said = said.filter(market.frames[peer][column.timeframe]["session"].is_in(own["session"].implode()))
            rows = _rows_at(said["known_at"], beside["known_at"])
            values = said[names[-1]].gather(pl.Series(np.maximum(rows, 0)))
            beside = beside.with_columns(pl.when(pl.Series(rows >= 0)).then(values).alias(names[-1]))
    return beside, names


def _rows_at(instants: pl.Series, wanted: pl.Series) -> Integers:
    """The row of each wanted instant, -1 where there is none."""
    there, asked = (one.to_physical().to_numpy() for one in (instants, wanted))
    rows = np.minimum(np.searchsorted(there, asked), max(there.size - 1, 0))
    return np.where(there[rows] == asked, rows, -1) if there.size else np.full(asked.size, -1)


def aligned(column: Column, place: tuple[str, str], market: Market, *, of: str) -> tuple[pl.Series, list[Break]]:
    """A column of other bars as the engine lays it beside those of `place`, and the first that is not as it must be."""
    there = market.computed({"value": column}, _place(column, market))
    here = market.computed({"value": column}, place)
    known, instants = (frame["known_at"].to_physical().to_numpy() for frame in (there, here))
    rows = np.searchsorted(known, instants, side="right") - 1
    expected = pl.select(pl.when(pl.Series(rows >= 0)).then(there["value"].gather(np.maximum(rows, 0)))).to_series()
    bars = _different(here["value"], expected).arg_true()
    if bars.is_empty():
        return here["value"], []
    node = Node(column, of, pl.lit(0), here, here["value"], here["known_at"])
    bar = int(bars[0])
    why = f"the newest of them that has closed says {_shown(expected[bar])}"
    return here["value"], [Break(node, bar, here["value"][bar], expected[bar], why)]


def closed_early(market: Market, timeframe: str) -> Law | None:
    """The first longer bar that is known before a bar inside it has closed."""
    for instrument, frames in market.frames.items():
        base = frames[timeframe].select("session", "ts", "known_at")
        for name, bars in frames.items():
            if timeframe_us(name) <= timeframe_us(timeframe):
                continue
            longer = bars.select("session", "ts", closes="known_at", begins="ts")
            inside = base.join_asof(longer, on="ts", by="session", strategy="backward", check_sortedness=False)
            ends = pl.col("begins").dt.offset_by(f"{timeframe_us(name)}us")
            early = inside.with_row_index().filter(pl.col("ts") < ends, pl.col("known_at") > pl.col("closes"))
            if not early.is_empty():
                first = early.row(0, named=True)
                detail = f"{instrument}: the {name} bar of {first['begins']} counts as known at {first['closes']}"
                detail += f", and a {timeframe} bar inside it closes at {first['known_at']}"
                return broken("alignment", detail, first_bar=int(first["index"]), column=name)
    return None


def _proved(node: Node) -> Iterator[tuple[str, Break]]:
    """At most one break of either law."""
    compiled = node.column.kernel is not None or is_compiled(node.expression)
    alone = np.zeros(0, np.int64) if node.is_anchored else _undisturbed(node, for_good=compiled)
    said = end_to_end(node, alone)
    differs = _different(said, node.values.gather(alone)).to_numpy()
    rest = np.setdiff1d(np.arange(node.values.len()), alone[~differs], assume_unique=True)
    exact = _spread(rest, _cuts_of(node, compiled=compiled) or rest.size)
    cut, uncut = stacked(node, exact)
    if (wrong := _different(cut, uncut).arg_true()).len():
        yield "prefix", _break(node, int(exact[wrong[0]]), cut[wrong[0]], uncut[wrong[0]])
    elif repainted := _repainted(node):
        yield "prefix", repainted
    elif not node.is_anchored:
        strange = dict(_drifted(node, alone[differs], said.filter(differs)))
        if node.column.forgets:  # it has not forgotten what was laid before its memory: look again with nothing there
            suspected = _spread(np.array([*strange], dtype=np.int64), COMPILED_CUTS)
            strange = dict(_drifted(node, suspected, stacked(node, suspected)[0]))
        drifted = strange | dict(_drifted(node, exact, cut))
        if drifted:
            yield _far_or_old(node, dict(sorted(drifted.items())))


def _cuts_of(node: Node, *, compiled: bool) -> int | None:
    """How many bars are cut exactly; None: all."""
    if node.is_grouped:
        return GROUPED_CUTS
    if node.column.kernel is not None:
        return KERNEL_CUTS
    return COMPILED_CUTS if compiled else None


def _drifted(node: Node, bars: Integers, said: pl.Series) -> Iterator[tuple[int, Any]]:
    """The bars on which short data say another thing than all data, and what they say."""
    rows = beyond_rounding(said, node.values.gather(bars), _restlessness(node)[bars]).arg_true().to_numpy()
    return zip(bars[rows].tolist(), said.gather(rows).to_list(), strict=True)


def _restlessness(node: Node) -> Floats:
    """By how much more than lately the node's input has moved in one bar, at any time; at least 1.

    What is recursive forgets in proportion to what it is shown: a quiet stretch leaves more of a wild one before it, and
    one without a move leaves all. Lately is the node's lookback.
    """
    most, lately = np.ones(node.inputs.height), max(node.column.lookback, 1)
    if not node.column.forgets or node.inputs.height <= lately:
        return most
    for values in node.inputs.iter_columns():
        known = values.cast(pl.Float64).fill_null(strategy="forward").to_numpy()
        moves = np.nan_to_num(np.abs(np.diff(known, prepend=np.nan)))
        before = np.cumsum(moves)
        inside = np.maximum(before[lately:] - before[:-lately], 0.0) / lately
        with np.errstate(divide="ignore", invalid="ignore"):
            most[lately:] = np.fmax(most[lately:], moves.max() / inside)
    return most


def _far_or_old(node: Node, said: Mapping[int, Any]) -> tuple[str, Break]:
    """Bars on which short data say another thing than all data: do later ones make the difference, or older ones?"""
    for bar in _spread(np.array([*said]), WHOLE_CUTS).tolist():
        known = _value(node, 0, bar + 1).tail(1)
        if beyond_rounding(known, node.values.slice(bar, 1))[0]:
            return "prefix", _break(node, bar, known[0], node.values[bar])
    bar = next(iter(said))
    why = f"with more than its lookback and warm-up of {node.memory} bars {_shown(node.values[bar])}"
    return "warm_up", Break(node, bar, said[bar], node.values[bar], why)


def _repainted(node: Node) -> Break | None:
    """What is said of any bar on the data of a later one, at some of them."""
    for last in _spread(np.arange(node.values.len()), WHOLE_CUTS).tolist():
        cut = _value(node, 0, last + 1)
        if (wrong := _different(cut, node.values.head(last + 1)).arg_true()).len():
            return _break(node, int(wrong[0]), cut[wrong[0]], node.values[wrong[0]])
    return None


def _break(node: Node, bar: int, seen: Any, expected: Any) -> Break:
    return Break(node, bar, seen, expected, f"with later data {_shown(expected)}")


# Cuts


def stacked(node: Node, bars: Integers) -> tuple[pl.Series, pl.Series]:
    """The node's values at `bars` on data cut there, and on data that go on, both from the same first bar."""
    if node.is_grouped:
        return _one_by_one(node, bars)
    per_bar = node.memory + BLOCK / 2 + (node.memory + BLOCK + BEYOND) / BLOCK
    parts = np.array_split(bars, max(1, int(bars.size * per_bar / _ROWS)))
    return pl.concat([_cut(node, some) for some in parts]), pl.concat([_uncut(node, some) for some in parts])


def _one_by_one(node: Node, bars: Integers) -> tuple[pl.Series, pl.Series]:
    cut, uncut = [node.values.clear()], [node.values.clear()]
    for bar, begin in zip(bars.tolist(), _begins(bars // BLOCK, node).tolist(), strict=True):
        end = min((bar // BLOCK + 1) * BLOCK + BEYOND, node.inputs.height)
        cut.append(_value(node, begin, bar + 1).tail(1))
        uncut.append(_value(node, begin, end).slice(bar - begin, 1))
    return pl.concat(cut), pl.concat(uncut)


def _cut(node: Node, bars: Integers) -> pl.Series:
    begins = _begins(bars // BLOCK, node)
    return _by_group(node.expression.last(), node.inputs, begins, bars + 1)


def _uncut(node: Node, bars: Integers) -> pl.Series:
    blocks, of = np.unique(bars // BLOCK, return_inverse=True)
    begins = _begins(blocks, node)
    ends = np.minimum((blocks + 1) * BLOCK + BEYOND, node.inputs.height)
    values = _by_group(node.expression, node.inputs, begins, ends)
    if values.dtype != pl.List:  # one value for all of them
        return values.gather(of)
    places = np.concatenate([[0], np.cumsum(ends - begins)[:-1]])[of] + bars - begins[of]
    return values.explode().gather(places)


def _begins(blocks: Integers, node: Node) -> Integers:
    return np.maximum(blocks * BLOCK - node.memory, 0)


def _by_group(expression: pl.Expr, inputs: pl.DataFrame, begins: Integers, ends: Integers) -> pl.Series:
    """An expression on each of several half-open ranges of rows."""
    rows, groups = _ranges(begins, ends)
    stack = inputs.select(pl.all().gather(rows)).with_columns(pl.Series("cut", groups).set_sorted()).lazy()
    return stack.group_by("cut", maintain_order=True).agg(expression.alias("value")).collect()["value"]


def _ranges(begins: Integers, ends: Integers) -> tuple[Integers, Integers]:
    """All rows of half-open ranges one after the other, and the number of the range that each is of."""
    lengths = ends - begins
    groups = np.repeat(np.arange(begins.size), lengths)
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(before - begins, lengths), groups


def end_to_end(node: Node, bars: Integers) -> pl.Series:
    """The node's value at `bars` on their memory, with no null in it; what comes before and after is of other bars."""
    window = node.memory + 1
    columns = {
        name: np.lib.stride_tricks.sliding_window_view(_array(node.inputs[name]), window)
        for name in node.inputs.columns * bool(bars.size)
    }
    per_call, values = max(1, _ROWS // window), [node.values.clear()]
    for begin in range(0, bars.size, per_call):
        first = bars[begin : begin + per_call] - node.memory
        laid = pl.DataFrame({name: rows[first].ravel() for name, rows in columns.items()})
        values.append(laid.with_columns(node.expression.alias("value"))["value"].gather_every(window, window - 1))
    return pl.concat(values)


def _array(values: pl.Series) -> NDArray[Any]:
    array: NDArray[Any] = (values.fill_null(value=False) if values.dtype == pl.Boolean else values).to_numpy()
    return array


def _undisturbed(node: Node, *, for_good: bool) -> Integers:
    """The bars without a null in their memory; `for_good`: nor anywhere before, but for the start of the series."""
    known = node.inputs.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
    unknown = np.concatenate([[0], np.cumsum(~known)])
    if for_good:
        first = int(np.argmax(known))
        begin, end = first + node.memory, int(np.searchsorted(unknown, unknown[first], side="right")) - 1
        return np.arange(begin, end)
    bars = np.arange(node.memory, known.size)
    calm: Integers = bars[unknown[bars + 1] == unknown[bars - node.memory]]
    return calm


def _value(node: Node, begin: int, end: int) -> pl.Series:
    return node.inputs.slice(begin, end - begin).with_columns(node.expression.alias("value"))["value"]


def _spread(bars: Integers, n: int) -> Integers:
    return bars if bars.size <= n else bars[np.unique(np.linspace(0, bars.size - 1, n).astype(np.int64))]


def _different(left: pl.Series, right: pl.Series) -> pl.Series:
    return left.ne_missing(right)


def beyond_rounding(left: pl.Series, right: pl.Series, times: Floats | float = 1.0) -> pl.Series:
    """More than `times` 1e-8 apart, of the greater or of what is usual for the column; or only one of them known."""
    if not right.dtype.is_numeric():
        return _different(left, right)
    usual = right.abs().median() or 0.0
    size = pl.max_horizontal(left.abs(), right.abs(), pl.lit(usual))
    allowed = pl.Series(np.asarray(times) * RELATIVE * pl.select(size).to_series().fill_null(0.0).to_numpy())
    apart = (left - right).abs() > allowed
    return apart.fill_null(value=False) | (left.is_null() != right.is_null())


# What is told


def _unlike_the_engine(
    nodes: list[Node], columns: Mapping[str, Column], market: Market, timeframe: str
) -> Iterator[Break]:
    """Where the engine, which computes all nodes at once, says another thing than they do one by one."""
    asked = market.computed(columns, (market.instrument, timeframe))
    of = {node.column.key: node for node in nodes}
    for name, column in columns.items():
        node = of.get(column.key)
        if node is None or _place(column, market) != (market.instrument, timeframe):
            continue
        apart = beyond_rounding(asked[name], node.values) & asked[name].is_not_null()
        if (bars := apart.arg_true()).len():
            bar = int(bars[0])
            yield Break(node, bar, asked[name][bar], node.values[bar], f"node by node {_shown(node.values[bar])}")


def _law(law: Any, breaks: list[Break], clock: pl.Series, told: str) -> Law:
    if not breaks:
        return held(law, told)
    first, bar = min(((one, _seen_on(one, clock)) for one in breaks), key=lambda pair: pair[1])
    on = first.node.known_at[first.bar]
    detail = f"{first.node.of}: {first.node.column} is {_shown(first.seen)} on what is known at {on}, {first.why}"
    return broken(law, detail, first_bar=bar, column=first.node.of)


def _seen_on(one: Break, clock: pl.Series) -> int:
    """The bar of the strategy that sees the broken value first."""
    at = one.node.known_at[one.bar]
    return min(int(clock.search_sorted(at, side="left")), clock.len() - 1)


def _shown(value: Any) -> str:
    return "unknown" if value is None else str(value)
