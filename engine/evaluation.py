"""Columns to values: a tree of causal columns computed on bars, each distinct part of it once.

For the bars of one instrument and timeframe, `evaluate` goes:

1. operands that live on other bars (a longer timeframe, another instrument) are computed on those,
   by these same steps, and laid beside these: a bar sees the newest of them that has closed by its
   own close (`known_at`), never one that is still forming;
2. functions across instruments are computed on the bars of each that close at the same instant;
3. columns that are worth it (`shared`: indicators, windows) are computed once each, by their key,
   or taken from the memo, where whoever asks keeps one: a sweep computes no indicator twice;
4. what remains is joined to expressions and computed together;
5. a value is withheld (null) until the column's warm-up is over and all that it needs is known.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import polars as pl

from engine.bars import timeframe_us
from engine.causal import FEATURE, Column
from engine.errors import FinerTimeframeError, MissingTimeframeError, UnknownNameError

Frames = Mapping[str, pl.DataFrame]
"""One instrument's bar frames by timeframe, each sorted by `ts`."""

OWN = ""
"""The instrument asked about, where nobody says what it is called."""


class Memo(Protocol):
    """What remembers columns of one market: what each was on an instrument's bars of the column's timeframe."""

    def get(self, instrument: str, column: Column) -> pl.Series | None: ...

    def put(self, instrument: str, column: Column, values: pl.Series) -> None: ...


class Kept:
    """A memo in the memory of one process; `hits` and `misses` say what it was good for."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], pl.Series] = {}
        self.hits, self.misses = 0, 0

    def get(self, instrument: str, column: Column) -> pl.Series | None:
        found = self._kept.get((instrument, column.key))
        self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def put(self, instrument: str, column: Column, values: pl.Series) -> None:
        self._kept[instrument, column.key] = values


class _Asked(NamedTuple):
    """The market that columns are computed on, as one instrument sees it."""

    frames: Mapping[str, Frames]  # by instrument
    own: str
    peers: Collection[str]  # those that functions across instruments look at
    members: pl.DataFrame | None  # session instrument: whom they look at in it
    memo: Memo

    def bars(self, instrument: str, timeframe: str) -> pl.DataFrame:
        if instrument not in self.frames:
            raise UnknownNameError("instrument", instrument, known=self.frames)
        if timeframe not in self.frames[instrument]:
            raise MissingTimeframeError(timeframe, known=self.frames[instrument])
        return self.frames[instrument][timeframe]


def evaluate(
    columns: Mapping[str, Column],
    frames: Frames,
    timeframe: str,
    *,
    instrument: str = OWN,
    others: Mapping[str, Frames] | None = None,
    peers: Collection[str] | None = None,
    members: pl.DataFrame | None = None,
    memo: Memo | None = None,
) -> pl.DataFrame:
    """Compute `columns` on one instrument's bars of `timeframe`.

    Args:
        columns: what to compute, by the name it is to have.
        frames: the instrument's own bars.
        timeframe: that of the result; columns of longer timeframes are aligned to it.
        instrument: its name, by which functions across instruments and the memo know it.
        others: the bars of all others that columns may look at, by instrument.
        peers: the instruments that functions across instruments look at; by default all there are.
        members: `session instrument`, where they look at those only that are members in a bar's session.
        memo: keeps what is computed, for the next call on the same data.

    Returns:
        `ts`, `known_at` and each column (Float64 or Boolean), one row per bar; null through a column's warm-up, never NaN or
        infinite.

    Raises:
        MissingTimeframeError: a column's timeframe has no frame.
        FinerTimeframeError: a column is of a shorter timeframe.
        UnknownNameError: a column of an instrument that is not among `others`.
    """
    known = {**(others or {}), instrument: frames}
    asked = _Asked(known, instrument, known if peers is None else peers, members, Kept() if memo is None else memo)
    computed = _computed(columns.values(), asked, instrument, timeframe)
    return computed.select("ts", "known_at", *(pl.col(column.key).alias(name) for name, column in columns.items()))


def _computed(columns: Iterable[Column], asked: _Asked, instrument: str, timeframe: str) -> pl.DataFrame:
    """`ts`, `known_at` and each column by its key, on the bars of `instrument` and `timeframe`; withheld where unknown."""
    here = _Here(asked, instrument, timeframe)
    wanted = {column.key: column for column in columns}
    nodes = here.nodes(wanted.values())
    frame = here.joined([node for node in nodes.values() if here.is_foreign(node)])
    frame, expressions = here.with_shared(frame, nodes)
    # In two steps: what an expression names twice would be computed twice.
    frame = frame.with_columns(expressions[key].alias(key) for key in wanted if key not in frame.columns)
    return frame.select("ts", "known_at", *here.known(wanted.values()))


class _Here(NamedTuple):
    """The bars of one instrument and timeframe, as the place where columns are computed."""

    asked: _Asked
    instrument: str
    timeframe: str

    def is_foreign(self, column: Column) -> bool:
        """Do its values come from other bars than these?"""
        return (column.instrument or self.asked.own, column.timeframe) != (self.instrument, self.timeframe)

    def nodes(self, columns: Iterable[Column]) -> dict[str, Column]:
        """What has to be known here to compute `columns`, operands first, each once."""
        found: dict[str, Column] = {}

        def find(column: Column) -> None:
            if column.key not in found:
                if column.across is None and not self.is_foreign(column):
                    for operand in column.operands:
                        find(operand)
                found[column.key] = column

        for column in columns:
            find(column)
        return found

    def joined(self, foreign: Collection[Column]) -> pl.DataFrame:
        """The bars here, and beside each what was known of other bars by its close."""
        frame = self.asked.bars(self.instrument, self.timeframe)
        places: dict[tuple[str, str], list[Column]] = {}
        for column in foreign:
            if timeframe_us(column.timeframe) < timeframe_us(self.timeframe):
                raise FinerTimeframeError(column.timeframe, on=self.timeframe)
            places.setdefault((column.instrument or self.asked.own, column.timeframe), []).append(column)
        for place, columns in places.items():
            values = _computed(columns, self.asked, *place).drop("ts")
            frame = frame.join_asof(values, on="known_at", strategy="backward")
        return frame

    def with_shared(self, frame: pl.DataFrame, nodes: Mapping[str, Column]) -> tuple[pl.DataFrame, dict[str, pl.Expr]]:
        """The frame with every shared column, and the expression of every node over it.

        They are computed level by level: those of one level need none but those of earlier ones.
        """
        levels: dict[str, int] = {}
        for key, node in nodes.items():
            below = max((levels[operand.key] for operand in node.operands if operand.key in levels), default=0)
            levels[key] = below + (node.shared and not self.is_foreign(node))
        expressions: dict[str, pl.Expr] = {}
        for level in range(max(levels.values(), default=0) + 1):
            computed, remembered = {}, []
            for key, node in nodes.items():
                if levels[key] != level:
                    continue
                if self.is_foreign(node):
                    expressions[key] = pl.col(key)
                elif not node.shared:
                    expressions[key] = node.function(*(expressions[operand.key] for operand in node.operands))
                else:
                    expressions[key] = pl.col(key)
                    known = self.asked.memo.get(self.instrument, node)
                    if known is not None:
                        remembered.append(known.alias(key))
                    elif node.across is not None:
                        computed[key] = pl.lit(self._across(node))
                    else:
                        computed[key] = node.function(*(expressions[operand.key] for operand in node.operands))
            frame = frame.with_columns(*remembered, *(one.alias(key) for key, one in computed.items()))
            for key in computed:
                self.asked.memo.put(self.instrument, nodes[key], frame[key])
        return frame, expressions

    def _across(self, column: Column) -> pl.Series:
        """What all instruments say at once, joined by `column.across`; each has said nothing where it has no bar."""
        (operand,) = column.operands
        values = self.asked.bars(self.instrument, self.timeframe).select("known_at")
        names = []
        for peer in self.asked.peers:
            if self.timeframe in self.asked.frames[peer]:
                names.append(f"value of {peer}")
                known = self._of_members(
                    _computed([operand], self.asked._replace(own=peer), peer, self.timeframe), peer
                )
                said = known.select("known_at", pl.col(operand.key).alias(names[-1]))
                values = values.join(said, on="known_at", how="left", maintain_order="left")
        function: Callable[[list[pl.Expr], pl.Expr], pl.Expr] = column.across  # type: ignore[assignment]
        return values.select(
            function([pl.col(name) for name in names], pl.col(f"value of {self.instrument}"))
        ).to_series()

    def _of_members(self, values: pl.DataFrame, peer: str) -> pl.DataFrame:
        if self.asked.members is None:
            return values
        own = self.asked.members.filter(pl.col("instrument") == peer)
        sessions = self.asked.frames[peer][self.timeframe].select("known_at", "session")
        return values.join(sessions.join(own, on="session", how="semi"), on="known_at", how="semi")

    def known(self, columns: Iterable[Column]) -> Iterator[pl.Expr]:
        """The columns' values, withheld where one is not warm or something it needs is not known."""
        of: dict[str, _Needs] = {}
        for column in columns:
            needs = self._needs(column, of)
            conditions = [
                pl.col(name).is_not_null().shift(bars, fill_value=False) for name, bars in needs.known.items()
            ]
            if needs.warm_up:
                conditions.append(pl.int_range(pl.len()) >= needs.warm_up)
            values = pl.col(column.key)
            if column.kind == "number":
                conditions.append(values.is_finite())
            yield (pl.when(*conditions).then(values) if conditions else values).alias(column.key)

    def _needs(self, column: Column, of: dict[str, "_Needs"]) -> "_Needs":
        if column.key not in of:
            of[column.key] = self._found_needs(column, of)
        return of[column.key]

    def _found_needs(self, column: Column, of: dict[str, "_Needs"]) -> "_Needs":
        if self.is_foreign(column) or column.across is not None:
            return _Needs(0, {column.key: 0})
        own = column.lookback + column.forgets
        if column.name == FEATURE:
            return _Needs(own, {str(dict(column.settings)["name"]): 0})
        operands = [self._needs(operand, of) for operand in column.operands]
        known: dict[str, int] = {}
        for needs in operands:
            for name, bars in needs.known.items():
                known[name] = max(known.get(name, 0), bars + own)
        return _Needs(max((needs.warm_up for needs in operands), default=0) + own, known)


class _Needs(NamedTuple):
    """The bars before a column's first value that may be used, and what of the frame must be known since how many."""

    warm_up: int
    known: Mapping[str, int]
