"""May a strategy move up a stage? Policy and evidence in, decision out: no clock, no store.

1. Take the rules of the step: the policy's own, and those no policy may leave out (INVARIANTS).
2. Judge every rule, also after one has failed: a refusal lists all of its reasons. What was
   not measured counts against; absence is never a pass.
3. Approve when the policy has at least one rule for the step and every verdict passed.

The same policy and evidence always give the same decision, and the same id, so a retried
review appends nothing to the ledger.
"""

import operator
from typing import Annotated, Any, Literal, NamedTuple, Self, cast

from pydantic import ConfigDict, Field, model_validator

from quality.evidence import Encoded, Evidence, FiniteFloat, Hash, Record, StrategyKey, require_known
from quality.hashes import document_hash

Bound = Literal["at_least", "at_most"]
Origin = Literal["lab", "paper"]
Target = Literal["paper", "live"]


class Limit(NamedTuple):
    bound: Bound
    value: float


class Rule(Record):
    """One metric, one limit, and what the limit protects."""

    metric: str
    at_least: FiniteFloat | None = None
    at_most: FiniteFloat | None = None
    why: str = Field(min_length=1)  # shown to the person who reads the refusal

    @model_validator(mode="after")
    def _one_known_metric_one_limit(self) -> Self:
        require_known(self.metric)
        if (self.at_least is None) == (self.at_most is None):
            message = f"a rule has one limit, {self.metric} has {self._limits_seen()}: write at_least or at_most"
            raise ValueError(message)
        return self

    @property
    def limit(self) -> Limit:
        if self.at_least is not None:
            return Limit("at_least", self.at_least)
        return Limit("at_most", cast(float, self.at_most))

    def judge(self, value: Encoded) -> "Verdict":
        """The rule applied to what was seen; None, which is not measured or NaN, fails."""
        bound, limit = self.limit
        keeps = operator.ge if bound == "at_least" else operator.le
        passed = value is not None and keeps(float(value), limit)
        return Verdict(metric=self.metric, value=value, bound=bound, limit=limit, passed=passed, why=self.why)

    def _limits_seen(self) -> str:
        return "none" if self.at_least is None else "both"


class LabToPaper(Record):
    rules: tuple[Rule, ...]


class PaperToLive(Record):
    approvals: Annotated[int, Field(strict=True, ge=0)]  # people who must sign; with any, the system moves nothing
    rules: tuple[Rule, ...]


class PromotionPolicy(Record):
    """`policies/promotion.yaml`: who may move up, and why."""

    schema_: Literal[1] = Field(alias="schema")
    evidence_expires_days: Annotated[int, Field(strict=True, ge=1)]
    lab_to_paper: LabToPaper
    paper_to_live: PaperToLive
    periods_per_year: dict[str, Annotated[int, Field(strict=True, ge=1)]]  # sessions in a year, by calendar

    def document(self) -> dict[str, Any]:
        """The policy as it was written, ready to be hashed and kept in the ledger."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def rules(self, to: Target) -> tuple[Rule, ...]:
        return self.lab_to_paper.rules if to == "paper" else self.paper_to_live.rules

    def approvals(self, to: Target) -> int:
        return 0 if to == "paper" else self.paper_to_live.approvals


class Verdict(Record):
    """A rule applied to what was seen."""

    metric: str
    value: Encoded
    bound: Bound
    limit: float
    passed: bool
    why: str

    def __str__(self) -> str:
        bound = self.bound.replace("_", " ")
        return f"{self.metric} is {_shown(self.value, self.limit)}, must be {bound} {self.limit:g}: {self.why}"


class Decision(Record):
    """All verdicts of one step of one strategy version; made by `decide`, read back from the ledger."""

    model_config = ConfigDict(validate_by_name=True)

    strategy: StrategyKey
    from_: Origin = Field(validation_alias="from", serialization_alias="from")
    to: Target
    approved: bool
    id: Hash = Field(validation_alias="decision", serialization_alias="decision")
    evidence: Hash
    verdicts: tuple[Verdict, ...]

    def document(self) -> dict[str, Any]:
        """What `gauntlet review --json` prints and a ledger entry of kind `decision` holds."""
        return self.model_dump(mode="json", by_alias=True)


_CERTIFIED = Rule(metric="look_ahead_certificate", at_least=1, why="nothing that uses the future may trade")
_COMMITTED = Rule(metric="clean_tree", at_least=1, why="what was not committed cannot be reproduced")
INVARIANTS: dict[Target, tuple[Rule, ...]] = {"paper": (_CERTIFIED,), "live": (_CERTIFIED, _COMMITTED)}


def decide(policy: PromotionPolicy, evidence: Evidence, to: Target) -> Decision:
    """May the strategy that `evidence` describes move up to stage `to`?

    Pure: equal arguments give an equal decision with an equal id. A metric that is absent or
    NaN fails, infinities compare as numbers, an empty rule list approves nothing.
    """
    from_: Origin = "lab" if to == "paper" else "paper"
    written = policy.rules(to)
    verdicts = tuple(rule.judge(evidence.value(rule.metric)) for rule in (*written, *_left_out(written, to)))
    basis = {"policy": policy.document(), "evidence": evidence.id, "from": from_, "to": to}
    return Decision(
        strategy=evidence.strategy,
        from_=from_,
        to=to,
        approved=bool(written) and all(verdict.passed for verdict in verdicts),
        id=document_hash(basis),
        evidence=evidence.id,
        verdicts=verdicts,
    )


def _left_out(written: tuple[Rule, ...], to: Target) -> tuple[Rule, ...]:
    return tuple(rule for rule in INVARIANTS[to] if not any(_asks_as_much(other, rule) for other in written))


def _asks_as_much(other: Rule, rule: Rule) -> bool:
    return (
        other.metric == rule.metric
        and other.limit.bound == rule.limit.bound == "at_least"
        and other.limit.value >= rule.limit.value
    )


def _shown(value: Encoded, limit: float) -> str:
    if value is None:
        return "not measured"
    short = f"{float(value):g}"
    # 0.9499999 must not read "is 0.95, must be at least 0.95"
    return repr(value) if float(value) != limit and short == f"{limit:g}" else short
