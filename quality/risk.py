"""Guards and pacing: what refuses an entry, as `policies/risk.yaml` explains it and as a scenario says it.

    cautious:                                       # a strategy says `risk: cautious`
      max_position: {limit: 0.2, why: …}            # shares of equity
      max_drawdown: {limit: 0.25, why: …}
      kill_switch: {drawdown: 0.4, why: …}
      symbol_cooldown_active: {after_loss_seconds: 3600, why: …}

A guard rejects and never cuts; exactly at a limit is allowed. Its key is the reason that a refused
order gives. A scenario leaves the `why` out, and says a plain limit as a number.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from quality.configuration import Name, NonNegative, Positive, Record, Text
from quality.costs import Share

Count = Annotated[int, Field(ge=0)]


class Correlation(Record):
    limit: Annotated[float, Field(ge=-1, le=1)]
    days: Annotated[int, Field(ge=3)]  # past sessions


class KillSwitch(Record):
    drawdown: Share  # beyond it everything is closed


class Spacing(Record):
    seconds: Positive  # between any two entries


class Cooldown(Record):
    """Of one instrument after a trade on it."""

    after_win_seconds: NonNegative = 0.0
    after_loss_seconds: NonNegative = 0.0


class LossStreak(Record):
    losses: Annotated[int, Field(ge=1)]  # in a row, in one regime
    seconds: Positive  # of pause since the last


def _guard(**more: Any) -> Any:
    return Field(default=None, exclude_if=lambda value: value is None, **more)


class Guards(Record):
    """What a run is told; a guard that is left out does not guard."""

    max_position: NonNegative | None = _guard()  # shares of equity, as the next three
    max_gross_exposure: NonNegative | None = _guard()
    max_net_exposure: NonNegative | None = _guard()
    max_leverage: NonNegative | None = _guard()
    max_slippage_bps: NonNegative | None = _guard()  # half-spread, slippage and impact of an entry
    max_open_positions: Count | None = _guard()
    correlation_limit: Correlation | None = _guard()
    max_daily_loss: Share | None = _guard()
    max_drawdown: Share | None = _guard()
    kill_switch: KillSwitch | None = _guard()
    global_trade_spacing: Spacing | None = _guard()
    cooldown: Cooldown | None = _guard(alias="symbol_cooldown_active")
    max_trades_per_hour: Count | None = _guard()
    max_trades_per_day: Count | None = _guard()
    loss_streak_cooldown: LossStreak | None = _guard()


class Limited(Record):
    limit: NonNegative
    why: Text


class LimitedShare(Record):
    limit: Share
    why: Text


class LimitedCount(Record):
    limit: Count
    why: Text


class ExplainedCorrelation(Correlation):
    why: Text


class ExplainedKillSwitch(KillSwitch):
    why: Text


class ExplainedSpacing(Spacing):
    why: Text


class ExplainedCooldown(Cooldown):
    why: Text


class ExplainedLossStreak(LossStreak):
    why: Text


class Risk(Record):
    """One section of `policies/risk.yaml`."""

    max_position: Limited | None = None
    max_gross_exposure: Limited | None = None
    max_net_exposure: Limited | None = None
    max_leverage: Limited | None = None
    max_slippage_bps: Limited | None = None
    max_open_positions: LimitedCount | None = None
    correlation_limit: ExplainedCorrelation | None = None
    max_daily_loss: LimitedShare | None = None
    max_drawdown: LimitedShare | None = None
    kill_switch: ExplainedKillSwitch | None = None
    global_trade_spacing: ExplainedSpacing | None = None
    cooldown: ExplainedCooldown | None = Field(default=None, alias="symbol_cooldown_active")
    max_trades_per_hour: LimitedCount | None = None
    max_trades_per_day: LimitedCount | None = None
    loss_streak_cooldown: ExplainedLossStreak | None = None

    @property
    def guards(self) -> Guards:
        """The same without its reasons."""
        plain = Limited | LimitedShare | LimitedCount
        return Guards.model_validate(
            {
                name: guard.limit if isinstance(guard, plain) else guard.model_dump(exclude={"why"})
                for name, guard in self
                if guard is not None
            }
        )


class RiskPolicy(Record, extra="allow"):
    """`policies/risk.yaml`."""

    schema_: Literal[1] = Field(alias="schema")
    __pydantic_extra__: dict[Name, Risk] = Field(init=False)

    @property
    def sections(self) -> dict[str, Risk]:
        return dict(self.__pydantic_extra__)
