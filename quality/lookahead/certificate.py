"""The certificate: every law of one strategy version, over all of its instruments."""

from collections.abc import Mapping, Sequence
from typing import get_args

from pydantic import BaseModel, ConfigDict

from quality.lookahead.laws import Law, LawName, broken, held

MINIMUM_BARS = 500  # of each instrument


class Certificate(BaseModel):
    """What was proved of one strategy version, on how many bars, with which code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str
    certified: bool
    laws: tuple[Law, ...]
    bars_checked: int
    code: str


def certificate(
    strategy: str,
    laws: Mapping[str, Sequence[Law]],
    *,
    once: Sequence[Law] = (),
    bars_checked: int,
    code: str,
) -> Certificate:
    """Gather the laws of several instruments: one entry per law, the first failure with its instrument.

    Args:
        strategy: `name@version`.
        laws: what was found, by instrument; where a law was run more than once on one, the first failure counts.
        once: what was found of the strategy as a whole.
        bars_checked: bars that were cut at, over all instruments.
        code: hash of what was proved.

    Returns:
        Certified where every law was run on every instrument, or once, and held; none run is none held.
    """
    whole = {law.law: law for law in once}
    gathered = tuple(whole.get(name) or _gathered(name, laws) for name in get_args(LawName))
    return Certificate(
        strategy=strategy,
        certified=bars_checked > 0 and all(law.passed for law in gathered),
        laws=gathered,
        bars_checked=bars_checked,
        code=code,
    )


def on_enough_bars(law: Law, n_bars: int) -> Law:
    """A law that held on few bars is not proved."""
    if law.passed and n_bars < MINIMUM_BARS:
        return broken(law.law, f"only {n_bars} bars to prove it on, {MINIMUM_BARS} are needed")
    return law


def _gathered(name: LawName, laws: Mapping[str, Sequence[Law]]) -> Law:
    details = []
    for instrument, found in laws.items():
        of_this_law = [law for law in found if law.law == name]
        failed = [law for law in of_this_law if not law.passed]
        if failed:
            return failed[0].model_copy(update={"detail": f"{instrument}: {failed[0].detail}"})
        if not of_this_law:
            return broken(name, f"{instrument}: not run")
        details.append("; ".join(law.detail for law in of_this_law))
    if not details:
        return broken(name, "run on no instrument")
    return held(name, details[0] if len(details) == 1 else f"held on {len(details)} instruments: {details[0]}")
