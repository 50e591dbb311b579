"""The first law: before anything runs, the column tree is walked against the allowlist of causal nodes.

Every node of the tree is asked for the polars expression that it makes of its operands, and that is
walked by `polars_nodes`. A node that is computed by a function of arrays (`engine.causal.kernel`)
has no expression; it is let through where the engine itself owns the function, and left to the laws
that run.

What is refused is named as the strategy would: `exit: ahead(open on 1d, 1) uses a shift from 1 bar ahead`.
"""

import sys
from collections.abc import Iterator, Mapping

import polars as pl

from engine.causal import Column
from quality.lookahead.laws import Law, broken, held
from quality.lookahead.polars_nodes import offences

_OWN = "engine."


def static_walk(columns: Mapping[str, Column]) -> Law:
    """Walk what a strategy says, by name. All offences are told; the first one's column is named."""
    nodes = 0
    found: dict[str, str] = {}  # what is wrong, and the first column that has it
    for name, column in columns.items():
        for node in walked(column):
            nodes += 1
            for offence in offences_of(node):
                found.setdefault(f"{node} uses {offence}", name)
    if not found:
        return held("static_walk", f"{nodes} nodes of {len(columns)} columns are all known to be causal")
    detail = "; ".join(f"{name}: {offence}" for offence, name in found.items())
    return broken("static_walk", detail, column=next(iter(found.values())))


def walked(column: Column) -> Iterator[Column]:
    """The column and all it is made of, operands first, each object once.

    By identity: keys are taken over what polars writes down, which a Python function inside would prevent.
    """
    seen: dict[int, Column] = {}

    def visit(node: Column) -> Iterator[Column]:
        if id(node) not in seen:
            seen[id(node)] = node
            for operand in node.operands:
                yield from visit(operand)
            yield node

    return visit(column)


def offences_of(node: Column) -> list[str]:
    """What is wrong with one node alone, its operands taken as given."""
    if node.kernel is not None:
        return [] if _is_own(node.kernel) else [f"a function of arrays that is not the engine's own ({node.kernel})"]
    stand_ins = [pl.col(f"operand {n}") for n in range(len(node.operands))]
    found = offences(node.function(*stand_ins))
    if node.across is not None:
        found += offences(node.across([*stand_ins, pl.col("peer")], *stand_ins))
    return found


def _is_own(kernel: str) -> bool:
    """Is it the name of a function that a module of the engine has?"""
    module, _, name = kernel.rpartition(".")
    return kernel.startswith(_OWN) and callable(getattr(sys.modules.get(module), name, None))
