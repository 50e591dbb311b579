"""The ledger's arithmetic: entries in a chain, what breaks it, and the stages it folds to.

1. A `Draft` says what happened; `append_to` makes it the next `Entry`: a number, the hash of
   its predecessor, the content. What is stored is the entry's RFC 8785 bytes, its hash is
   their SHA-256.
2. `verify` takes the stored bytes by number and finds what broke. An entry is vouched for by
   its successor, and the last one by the published head; so an edited entry is named itself,
   not the one after it. Without a published head a cut tail and an edited last entry look
   like a ledger that is merely shorter or different.
3. `stages` folds the entries to where each strategy stands. Nothing else stores it.
4. `review_is_new`, `policy_is_new`, `promotion_is_due` decide what a night has to append.

No clock and no store: `resources/ledger_store.py` keeps the files.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Literal, Self, cast

import rfc8785
from pydantic import AfterValidator, AwareDatetime, Field, JsonValue, ValidationError, model_validator

from quality.errors import MalformedEntryError, NotCanonicalError
from quality.evidence import Hash, Record, StrategyKey
from quality.promotion import Decision, PromotionPolicy

Kind = Literal[
    "registered", "policy", "decision", "approval", "promoted", "demoted", "capital", "halted", "resumed",
    "frozen", "unfrozen", "retired",
]  # fmt: skip
Stage = Literal["lab", "paper", "live", "halted", "retired"]
Moment = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]

STAGE_AFTER: dict[Kind, Stage] = {"registered": "lab", "halted": "halted", "retired": "retired"}
MOVES_TO: dict[Kind, tuple[Stage, ...]] = {  # the body names the stage, under `to`
    "promoted": ("paper", "live"),
    "demoted": ("lab", "paper"),
    "resumed": ("lab", "paper", "live"),
}
OF_NO_STRATEGY: tuple[Kind, ...] = ("policy", "frozen", "unfrozen")


class Draft(Record):
    """What happened, when, by whom, to which strategy; not yet in the chain."""

    kind: Kind
    at: Moment
    by: Annotated[str, Field(min_length=1)]
    strategy: StrategyKey | None  # None exactly for the kinds that concern all
    body: dict[str, JsonValue]

    @model_validator(mode="after")
    def _says_what_its_kind_needs(self) -> Self:
        if (self.strategy is None) != (self.kind in OF_NO_STRATEGY):
            message = f"strategy is {self.strategy!r} in an entry of kind {self.kind}, which concerns " + (
                "all: leave it null" if self.strategy else "one: name it"
            )
            raise ValueError(message)
        allowed = MOVES_TO.get(self.kind)
        if allowed is not None and self.body.get("to") not in allowed:
            message = f"{self.kind} to {self.body.get('to')!r}: `to` in the body must be {' or '.join(allowed)}"
            raise ValueError(message)
        if self.kind == "decision":
            Decision.model_validate(self.body)
        return self

    @property
    def moves_to(self) -> Stage | None:
        """The stage its strategy stands in afterwards, None when it does not move."""
        return cast(Stage, self.body["to"]) if self.kind in MOVES_TO else STAGE_AFTER.get(self.kind)


class Head(Record):
    """The last entry's number and hash: what the next one follows, and what a night publishes."""

    n: Annotated[int, Field(ge=1)]
    hash: Hash


class Entry(Draft):
    """A draft in its place in the chain."""

    n: Annotated[int, Field(ge=1)]
    prev: Hash | None  # the hash of entry n - 1; None exactly for entry 1

    @model_validator(mode="after")
    def _only_the_first_has_no_predecessor(self) -> Self:
        if (self.prev is None) != (self.n == 1):
            message = (
                f"entry {self.n} has prev {self.prev}: it is null for entry 1 and the hash of entry n - 1 for others"
            )
            raise ValueError(message)
        return self

    def canonical(self) -> bytes:
        """The RFC 8785 bytes of the entry: what is stored, and what its hash is taken over."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    @property
    def head(self) -> Head:
        """The head of a ledger that ends here."""
        return Head(n=self.n, hash=content_hash(self.canonical()))


class Broken(Record):
    entry: int
    problem: str


class Verification(Record):
    """What `gauntlet ledger verify --json` prints."""

    ok: bool
    entries: int
    head: Hash | None
    broken: tuple[Broken, ...]


class Standing(Record):
    """Where a strategy stands; one element of what `gauntlet stages --json` prints."""

    strategy: StrategyKey
    stage: Stage
    since: Moment
    capital: float = 0.0  # account currency; none before a strategy is live
    decision: Hash | None = None  # the newest review, approved or not
    expires: Moment | None = None  # when the evidence of that review does


def read(content: bytes) -> Entry:
    """The entry that `content` holds. Raises `MalformedEntryError` unless these are its canonical bytes."""
    try:
        entry = Entry.model_validate_json(content)
        canonical = entry.canonical()
    except ValueError as error:  # of pydantic and of rfc8785 alike
        raise MalformedEntryError(_first_line(error)) from error
    if canonical != content:
        raise NotCanonicalError
    return entry


def content_hash(content: bytes) -> str:
    """The hash of an entry, over the bytes as they are stored."""
    return f"sha256:{sha256(content).hexdigest()}"


def append_to(head: Head | None, draft: Draft) -> Entry:
    """`draft` as the entry that follows `head`."""
    n, prev = (1, None) if head is None else (head.n + 1, head.hash)
    return Entry(**{name: getattr(draft, name) for name in Draft.model_fields}, n=n, prev=prev)


def verify(files: Mapping[int, bytes], head: Head | None = None) -> Verification:
    """Does the chain hold? `files` are stored bytes by the number in their name, `head` the published one.

    Every broken entry is named once, in order of number; of consecutive missing ones the first.
    """
    last = max(files, default=None)
    broken = sorted([*_missing(files, head), *_faults(files, head)], key=lambda fault: fault.entry)
    return Verification(
        ok=not broken,
        entries=len(files),
        head=None if last is None else content_hash(files[last]),
        broken=tuple(broken),
    )


def stages(entries: Sequence[Entry], *, expires_days: int) -> dict[str, Standing]:
    """Where every registered strategy stands after `entries`, by `name@version` in order of registration.

    `expires_days` is the policy's `evidence_expires_days`. What was never registered has no stage.
    """
    standings: dict[str, Standing] = {}
    for entry in entries:
        if entry.strategy is None or (entry.kind != "registered" and entry.strategy not in standings):
            continue
        if entry.kind == "registered":
            standings.setdefault(entry.strategy, Standing(strategy=entry.strategy, stage="lab", since=entry.at))
        else:
            standings[entry.strategy] = _after(standings[entry.strategy], entry, expires_days)
    return standings


def is_frozen(entries: Sequence[Entry]) -> bool:
    """Are all promotions frozen, because a negative control was once approved?"""
    kinds = [entry.kind for entry in entries if entry.kind in ("frozen", "unfrozen")]
    return bool(kinds) and kinds[-1] == "frozen"


def review_is_new(entries: Sequence[Entry], decision: Decision, *, now: datetime, expires_days: int) -> bool:
    """Does `decision` say what the ledger does not hold yet?

    It does when the strategy has moved since its last review, when step, outcome or the set of
    failed rules differ from that review's, or when that review's evidence has expired by `now`.
    """
    for entry in reversed(entries):
        if entry.strategy != decision.strategy:
            continue
        if entry.moves_to is not None:
            return True
        if entry.kind == "decision":
            expired = now >= entry.at + timedelta(days=expires_days)
            return expired or _gist(Decision.model_validate(entry.body)) != _gist(decision)
    return True


def policy_is_new(entries: Sequence[Entry], policy: PromotionPolicy) -> bool:
    """Is `policy` another than the last one the ledger holds?"""
    bodies = [entry.body for entry in entries if entry.kind == "policy"]
    return not bodies or bodies[-1] != policy.document()


def promotion_is_due(entries: Sequence[Entry], decision: Decision, policy: PromotionPolicy) -> bool:
    """Must the system itself now move the strategy to `decision.to`?

    Only on an approval, from the stage that was reviewed, while nothing is frozen, and when
    `policy` wants no person's approval for the step.
    """
    standing = stages(entries, expires_days=policy.evidence_expires_days).get(decision.strategy)
    stands_there = standing is not None and standing.stage == decision.from_
    unsigned = policy.approvals(decision.to) == 0
    return decision.approved and unsigned and stands_there and not is_frozen(entries)


def _after(standing: Standing, entry: Entry, expires_days: int) -> Standing:
    if entry.kind == "decision":
        expires = entry.at + timedelta(days=expires_days)
        return standing.model_copy(update={"decision": entry.body["decision"], "expires": expires})
    if entry.moves_to is not None:
        return standing.model_copy(update={"stage": entry.moves_to, "since": entry.at})
    return standing


def _gist(decision: Decision) -> tuple[str, str, bool, frozenset[tuple[str, str, float]]]:
    failed = ((verdict.metric, verdict.bound, verdict.limit) for verdict in decision.verdicts if not verdict.passed)
    return decision.from_, decision.to, decision.approved, frozenset(failed)


def _missing(files: Mapping[int, bytes], head: Head | None) -> Iterator[Broken]:
    end = max([0, *files, head.n if head else 0])
    for before, after in pairwise([0, *sorted(files), end + 1]):
        first, last = before + 1, after - 1
        if first < last:
            yield Broken(entry=first, problem=f"entries {first} to {last} are missing")
        elif first == last:
            yield Broken(entry=first, problem=f"entry {first} is missing")


def _faults(files: Mapping[int, bytes], head: Head | None) -> Iterator[Broken]:
    """Walks from the last entry to the first, because only a sound successor may vouch."""
    numbers = {content_hash(content): n for n, content in files.items()}
    successor: Entry | None = None
    for n in sorted(files, reverse=True):
        try:
            entry = read(files[n])
        except MalformedEntryError as error:
            problem: str | None = str(error)
        else:
            problem = _misplaced(entry, n, numbers) or _disowned(n, files[n], successor, head)
        if problem is not None:
            yield Broken(entry=n, problem=problem)
        successor = entry if problem is None else None


def _misplaced(entry: Entry, n: int, numbers: Mapping[str, int]) -> str | None:
    if entry.n != n:
        return f"file {n} holds entry {entry.n}: entries were reordered"
    follows = numbers.get(entry.prev or "")
    if follows is not None and follows != n - 1:
        return f"entry {n} follows entry {follows}, not {n - 1}: the ledger was forked or reordered there"
    return None


def _disowned(n: int, content: bytes, successor: Entry | None, head: Head | None) -> str | None:
    seen = content_hash(content)
    if head is not None and head.n == n and head.hash != seen:
        return f"entry {n} hashes to {seen}, the published head says {head.hash}: it was changed since, or the tail replaced"
    if successor is not None and successor.n == n + 1 and successor.prev != seen:
        return f"entry {n} hashes to {seen}, entry {n + 1} says {successor.prev}: it was changed after that was written"
    return None


def _first_line(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return f"{place}: {reason}" if place else reason
