"""What an instrument is besides its bars: spot or a contract, and the terms on which a contract is held.

A data set and a scenario say it alike. Amounts are in the money the instrument settles in.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from quality.configuration import NonNegative, Positive, Record, refuse
from quality.errors import Refusal

_FORMULAS = {  # which formulas a kind of contract can have
    "linear": ("bybit_linear", "binance", "okx"),
    "inverse": ("bybit_inverse", "bybit_inverse_2026"),
}


class Contract(Record):
    kind: Literal["spot", "linear", "inverse"] = "spot"
    shortable: bool = True
    leverage: Annotated[float, Field(ge=1)] = 1.0
    maintenance_margin: Annotated[float, Field(ge=0, lt=1)] = 0.005
    maintenance_amount: NonNegative = 0.0
    extra_margin: NonNegative = 0.0
    contract_size: Positive = 1.0
    liquidation: Literal["bybit_linear", "bybit_inverse", "bybit_inverse_2026", "binance", "okx"] | None = None
    margin: Literal["isolated", "cross"] = "isolated"

    @property
    def formula(self) -> Literal["bybit_linear", "bybit_inverse", "bybit_inverse_2026", "binance", "okx"]:
        """The one that is named, or Bybit's of its kind."""
        return self.liquidation or ("bybit_inverse" if self.kind == "inverse" else "bybit_linear")

    @model_validator(mode="after")
    def _formula_is_of_its_kind(self) -> Self:
        allowed = _FORMULAS.get(self.kind)
        if allowed and self.liquidation and self.liquidation not in allowed:
            refuse([Refusal(("liquidation",), f"{' or '.join(allowed)}, which is for {self.kind} contracts")])
        return self
