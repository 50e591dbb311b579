"""A law as it was found: held, or broken on a bar that is named.

| law | holds when |
|---|---|
| `static_walk` | the column tree has only nodes that are known to be causal |
| `prefix` | data cut at a bar's close give the value that the whole series gives there |
| `poison` | other data after a bar change nothing up to it |
| `warm_up` | data older than the declared warm-up change nothing |
| `alignment` | of longer timeframes and other instruments, the newest bar that has closed is seen |
| `next_bar` | a decision moves nothing up to the bar it is made on |
| `rare_states` | `prefix` holds on made-up bars too, on which what rarely happens does |
| `universe` | membership of a session is the same without that session and all later ones |
| `embargo` | so is what is embargoed in it |
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

LawName = Literal[
    "static_walk", "prefix", "poison", "warm_up", "alignment", "next_bar", "rare_states", "universe", "embargo"
]


class Law(BaseModel):
    """One law as it was found; `first_bar` counts the bars of the series from 0, null where the law held."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    law: LawName
    passed: bool
    first_bar: int | None
    column: str | None
    detail: str


def held(law: LawName, detail: str) -> Law:
    return Law(law=law, passed=True, first_bar=None, column=None, detail=detail)


def broken(law: LawName, detail: str, *, first_bar: int | None = None, column: str | None = None) -> Law:
    return Law(law=law, passed=False, first_bar=first_bar, column=column, detail=detail)
