"""How large an order becomes: one record per size model, told apart by `model`.

    size: {model: risk_per_trade, risk: 0.005, cap: 0.2}

Shares are of equity, days are past sessions.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from quality.configuration import Positive, Record
from quality.costs import Fraction

Sessions = Annotated[int, Field(ge=2)]


class Units(Record):
    model: Literal["units"]
    quantity: Positive


class Notional(Record):
    model: Literal["notional"]
    notional: Positive


class EquityShare(Record):
    model: Literal["equity_share"]
    share: Fraction


class RiskPerTrade(Record):
    """The stop's distance times the quantity is `risk` of equity; the notional never exceeds `cap` of it."""

    model: Literal["risk_per_trade"]
    risk: Fraction
    cap: Positive = 1.0  # above 1 only leverage can pay for it


class VolatilityTarget(Record):
    """The share at which the position's deviation over a year is `annual`."""

    model: Literal["volatility_target"]
    annual: Positive
    days: Sessions
    periods_per_year: Positive = 365.0
    cap: Positive = 1.0


class Kelly(Record):
    """A fraction of what Kelly would stake, by the returns of closed trades; nothing before there are enough."""

    model: Literal["kelly"]
    fraction: Fraction
    cap: Positive = 1.0
    min_trades: Annotated[int, Field(ge=1)]


class InverseVolatility(Record):
    """Shares across instruments in proportion to one over their deviation."""

    model: Literal["inverse_volatility"]
    days: Sessions


class RiskParity(Record):
    """Shares across instruments of which each brings the same part of the variance."""

    model: Literal["risk_parity"]
    days: Sessions


Sizer = Annotated[
    Units | Notional | EquityShare | RiskPerTrade | VolatilityTarget | Kelly | InverseVolatility | RiskParity,
    Field(discriminator="model"),
]

SIGNAL = "signal"


def _kind(value: Any) -> str:
    return SIGNAL if isinstance(value, str) else "sizer"


SignalSize = Annotated[Annotated[Literal["signal"], Tag(SIGNAL)] | Annotated[Sizer, Tag("sizer")], Discriminator(_kind)]
"""A sizer, or the targets or weights that the strategy says."""
