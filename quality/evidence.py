"""Evidence: everything a decision may look at, in one document that has one id.

A number is measured somewhere, encoded once (`encode`: NaN is null with a reason, infinity
is a word), put beside its definition and the table it came from (`measured`), and joined
with the hashes of all it depends on. The id is the SHA-256 of the document's RFC 8785
bytes, so two machines that measured the same hold the same evidence.
"""

import math
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from quality.documents import listed, nearest
from quality.errors import UnknownMetricError
from quality.hashes import document_hash

METRICS: Mapping[str, str] = {
    # data
    "completeness_min": "accepted bars over bars due, the lowest of any instrument and session used",
    "sla_breaches": "SLA verdicts that did not pass, over the instruments and sessions used",
    "quarantined_share": "refused rows over rows received, over the bars used",
    "stale_run_max": "the longest run of bars that repeat the previous one without volume, over the bars used",
    # proof
    "look_ahead_certificate": "1 when every law was proved for this code, configuration and engine, else 0",
    "reproduced": "1 when a second run from scratch gave the same bytes, else 0",
    "clean_tree": "1 when all code was committed at the commit named in the evidence, else 0",
    # backtest, on the adverse path
    "net_return": "final equity over starting capital, less one, after all costs",
    "sharpe": "annualised mean over standard deviation of the session returns",
    "max_drawdown": "the largest fall from a running peak, as a share of the peak",
    "n_trades": "closed round trips",
    "profit_factor": "the sum of winning trades' PnL over the sum of losing trades' losses",
    "ambiguous_share": "trades whose result depends on the path inside a bar, over all trades",
    "net_return_worst_regime": "the lowest net return of any regime",
    "profit_concentration": "share of the gross profit that the five best trades made",
    "break_even_cost_multiple": "how many times the modelled costs bring the net return to zero",
    "capacity": "capital in account currency at which slippage by volume and impact take half of the edge",
    "excess_sharpe": "Sharpe ratio over holding the same instruments at the same average exposure",
    "beta": "slope of the session returns on those of holding the same instruments",
    "alpha_lower": "lower bound of the bootstrap interval of the return not explained by beta",
    "correlation_to_live": "the largest correlation of session returns with a strategy that is live",
    # walk-forward
    "oos_sharpe": "Sharpe ratio of the stitched out-of-sample session returns",
    "oos_sharpe_lower": "lower bound of the bootstrap interval of the out-of-sample Sharpe ratio",
    "oos_net_return": "net return of the stitched out-of-sample equity curve",
    "degradation": "share of the windows' mean in-sample Sharpe ratio that is lost out-of-sample",
    "oos_windows_positive": "share of the windows with a positive out-of-sample net return",
    # overfitting
    "n_trials": "distinct parameter sets of the family that were ever looked at",
    "effective_trials": "clusters of trials whose returns move together",
    "probabilistic_sharpe": "probability that the true Sharpe ratio is above zero",
    "deflated_sharpe": "probability that the true Sharpe ratio is above the best that luck gives so many trials",
    "pbo": "share of splits in which the parameters best in-sample are below the median out-of-sample",
    "spa_p_value": "Hansen's consistent p-value of the best trial against zero",
    "track_record_ratio": "length of the record over the minimum length its Sharpe ratio needs",
    "neighbourhood_ratio": "median result of the neighbouring parameters over that of the chosen",
    "on_grid_edge": "1 when a chosen parameter lies on the edge of its grid, else 0",
    # paper and live
    "paper_days": "sessions whose bars were first received after the promotion to paper",
    "paper_trades": "closed round trips in paper",
    "tracking_error": "standard deviation of the difference in session returns to the replay",
    "drift_p_value": "anytime-valid p-value of paper or live having the replay's edge",
    "unexplained_pnl_share": "share of the PnL difference that no cause explains",
    "slippage_ratio": "slippage paid over slippage modelled",
    "anomalies": "events in paper or live that should not happen",
    # the gate itself
    "controls_refused": "1 when every negative control was refused in the last night, else 0",
}

Hash = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
StrategyKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+@[0-9]+\.[0-9]+\.[0-9]+$")]
FiniteFloat = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Encoded = FiniteFloat | Literal["inf", "-inf"] | None


class Record(BaseModel):
    """What crosses a boundary: it does not change, and nothing unknown comes along."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(Record):
    """A metric's value with what it means and where it came from; no value only with a reason."""

    value: Encoded
    definition: str
    table: str
    reason: str | None = None

    @model_validator(mode="after")
    def _without_value_is_a_reason(self) -> Self:
        if (self.value is None) != bool(self.reason):
            message = (
                f"value is {self.value!r} and reason {self.reason!r}: give a reason when there is no value, only then"
            )
            raise ValueError(message)
        return self


class Hashes(Record):
    """Identities of everything written by people that the numbers depend on."""

    code: Hash
    configuration: Hash
    policy: Hash
    engine: Hash


class DataUsed(Record):
    """Exactly which bars of a data set were read: their digest, and the newest receipt behind them."""

    digest: str = Field(min_length=1)
    receipt_sequence: int = Field(strict=True, ge=0)


class Evidence(Record):
    """What was measured of one strategy version, as of one session."""

    strategy: StrategyKey
    as_of: date
    hashes: Hashes
    commit: str | None  # of the working tree's HEAD; None outside a git repository
    dirty: bool  # the tree differed from that commit
    data: dict[str, DataUsed]
    certificate: dict[str, JsonValue] | None
    metrics: dict[str, Measurement]

    @model_validator(mode="after")
    def _every_metric_is_known(self) -> Self:
        for metric in self.metrics:
            require_known(metric)
        return self

    def value(self, metric: str) -> Encoded:
        """What was seen of `metric`; None when it was not measured or is not a number."""
        if metric == "clean_tree":  # follows from the document itself, so it cannot contradict it
            return encode(self.commit is not None and not self.dirty)
        measurement = self.metrics.get(metric)
        return None if measurement is None else measurement.value

    def canonical(self) -> bytes:
        """The RFC 8785 bytes of the document: what is stored, and what the id is taken over."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    @property
    def id(self) -> str:
        return document_hash(self.model_dump(mode="json"))


def encode(value: float | None) -> Encoded:
    """A number as every document and every `--json` writes it: NaN is null, infinities are words.

    RFC 8785 (section 3.2.2.3) has neither. NumPy scalars and booleans become plain floats.
    """
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value)


def measured(
    values: Mapping[str, float | None], *, table: str, reasons: Mapping[str, str] | None = None
) -> dict[str, Measurement]:
    """`values` by metric name, as read from `table`, ready for `Evidence.metrics`.

    `reasons` says by name why a value is absent; without one, None reads "not measured" and
    NaN "not a number". Raises `UnknownMetricError` for a name that has no definition.
    """
    return {name: _measurement(name, value, table, reasons or {}) for name, value in values.items()}


def require_known(metric: str) -> None:
    """Raises `UnknownMetricError`, with the nearest name, when `metric` has no definition."""
    if metric not in METRICS:
        raise UnknownMetricError(metric, nearest=nearest(metric, METRICS), expected=listed(METRICS))


def _measurement(name: str, value: float | None, table: str, reasons: Mapping[str, str]) -> Measurement:
    require_known(name)
    seen = encode(value)
    reason = None
    if seen is None:
        reason = reasons.get(name, "not measured" if value is None else "not a number")
    return Measurement(value=seen, definition=METRICS[name], table=table, reason=reason)
