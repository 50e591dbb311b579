"""Makers for the gate's tests: a policy, evidence and what a night would append, all of them small and valid."""

from datetime import UTC, datetime

from quality.evidence import Evidence, measured
from quality.ledger import Draft, append_to
from quality.promotion import PromotionPolicy, decide

HASH = "sha256:" + "0" * 64
STRATEGY = "sma_cross@1.0.0"
NIGHT = datetime(2017, 12, 31, 1, tzinfo=UTC)
GOOD = {"look_ahead_certificate": 1, "oos_sharpe": 1.2, "max_drawdown": 0.1}
RULES = (
    {"metric": "look_ahead_certificate", "at_least": 1, "why": "nothing that uses the future may trade"},
    {"metric": "oos_sharpe", "at_least": 1.0, "why": "edge must survive out of sample"},
    {"metric": "max_drawdown", "at_most": 0.20, "why": "the desk stops at 20 %"},
)


def policy_of(to_paper=RULES, to_live=RULES, approvals=2):
    document = {
        "schema": 1,
        "evidence_expires_days": 7,
        "lab_to_paper": {"rules": to_paper},
        "paper_to_live": {"approvals": approvals, "rules": to_live},
        "periods_per_year": {"XNYS": 252, "24/7": 365},
    }
    return PromotionPolicy.model_validate(document)


def evidence_of(values=None, **changes):
    document = {
        "strategy": STRATEGY,
        "as_of": "2017-12-30",
        "hashes": {"code": HASH, "configuration": HASH, "policy": HASH, "engine": HASH},
        "commit": "4b825dc",
        "dirty": False,
        "data": {"crypto_5m": {"digest": HASH, "receipt_sequence": 7}},
        "certificate": {"bars": 500, "laws": ["prefix", "next_bar"]},
        "metrics": measured(GOOD if values is None else values, table="scorecard"),
    }
    return Evidence.model_validate(document | changes)


def review_of(to="paper", *, policy=None, **values):
    """The decision on otherwise good evidence with some `values` of its own."""
    return decide(policy or policy_of(), evidence_of(GOOD | values), to)


def draft(kind, *, at=NIGHT, strategy=STRATEGY, **body):
    return Draft(kind=kind, at=at, by="night", strategy=strategy, body=body)


def reviewed(decision, *, at=NIGHT):
    return Draft(kind="decision", at=at, by="night", strategy=decision.strategy, body=decision.document())


def chain(*drafts):
    """The entries that these drafts become, one after the other."""
    entries, head = [], None
    for following in drafts:
        entries.append(append_to(head, following))
        head = entries[-1].head
    return entries
