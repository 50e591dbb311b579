"""What a person may browse of a data set's quality: expectations as data, made from the policy and the row rules.

Two suites, both on one frame of measures with a row per instrument and session:

1. `sla`: each rule of the data set's section in `policies/sla.yaml`, with its limit, its severity
   and its date. `completeness`, `nan`, `duplicates` and `quarantined` are counted anew in SQL, from
   received rows, accepted bars and quarantine; what is due, and the rules that need to know when a
   bar closed or what came before a session, are taken from `sla_record`, where they were measured.
2. `rows`: each row rule that needs no calendar, twice. No accepted bar breaks it (`accepted_…`),
   and quarantine has exactly the received rows that do (`unmatched_…`). And between the first and
   the last judged session no dated row is lost: each is an accepted bar, the twin of one, or in
   quarantine.

This is no second truth. Where both measure the same, a test holds that the verdicts are those of
`sla_record`; this is the same truth, found on another way and shown to people.
"""

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from quality.bars import ROW_RULES
from quality.datasets import Dataset
from quality.policies import Limit, ServiceLevel
from quality.restatements import FILES

_FINITE = "coalesce(isfinite(open) AND isfinite(high) AND isfinite(low) AND isfinite(close), false)"
ROW_CONDITIONS = {
    "unparsable_ts": "ts IS NULL",
    "null_ohlc": f"NOT {_FINITE}",
    "non_positive_price": f"{_FINITE} AND least(open, high, low, close) <= 0",
    "high_below_body": f"{_FINITE} AND high < greatest(open, close)",
    "low_above_body": f"{_FINITE} AND low > least(open, close)",
    "negative_volume": "coalesce(volume < 0, false)",
    "unreadable_volume": "coalesce(NOT isfinite(volume), false)",
    "improbable_range": f"{_FINITE} AND low > 0 AND high > low * $max_range_ratio",
    "conflicting_duplicate": "contradicted",
}
"""The row rules in SQL, of a row `ts open high low close volume contradicted`."""

NEED_A_CALENDAR = frozenset(ROW_RULES) - ROW_CONDITIONS.keys()
"""Row rules that the tables alone cannot tell: which bars are due, and when they close, only the calendar says."""

MEASURED = {
    "completeness": "coalesce(n_accepted, 0) / due",
    "nan": "coalesce(n_null, 0)",
    "duplicates": "coalesce(n_conflicting, 0)",
    "quarantined": "coalesce(n_refused / n_received, 0)",
}
"""The SLA rules that are counted anew; the others are held against their limit as `sla_record` has them."""


Parameter = str | bool | float | None


class Expectation(NamedTuple):
    """A column lies within limits in every row of the sessions from `first` to before `end`; null is no row."""

    column: str
    at_least: float | None
    at_most: float | None
    enforced: bool
    why: str
    first: date | None = None
    end: date | None = None


class Suite(NamedTuple):
    name: str
    about: str
    expectations: tuple[Expectation, ...]


def suites(dataset: str, policy: ServiceLevel) -> tuple[Suite, Suite]:
    """The two suites of a data set, to be held against the frame that `measures_query` asks for."""
    rules = tuple(one for rule, limit in policy.limits.items() for one in _of_limit(rule, limit))
    return (
        Suite(f"{dataset}.sla", "What the data set must deliver, per instrument and session.", rules),
        Suite(
            f"{dataset}.rows", "Every received row is accounted for, and every accepted one kept every rule.", _rows()
        ),
    )


def measures_query(policy: ServiceLevel) -> str:
    """SQL for one row per judged session of the data set's span and one instrument: `instrument session` and every column
    of its suites.

    It reads the tables of the lake by their names, and takes what `parameters` gives.
    """
    recorded = [rule for rule in policy.limits if rule not in MEASURED]
    columns = [f"CASE WHEN due > 0 THEN {measure} END AS {rule}" for rule, measure in MEASURED.items()]
    columns += [f"{rule}" for rule in recorded]
    columns += [f"coalesce(accepted_{rule}, 0) AS accepted_{rule}" for rule in _OF_ACCEPTED]
    columns += [
        f"coalesce(broken_{rule}, 0) - coalesce(refused_{rule}, 0) AS unmatched_{rule}" for rule in ROW_CONDITIONS
    ]
    return _QUERY.format(
        recorded="".join(f", any_value(value) FILTER (rule = '{rule}') AS {rule}" for rule in recorded),
        accepted=_counts("accepted", {rule: ROW_CONDITIONS[rule] for rule in _OF_ACCEPTED}),
        broken=_counts("broken", ROW_CONDITIONS),
        refused=_counts("refused", {rule: f"list_contains(rules, '{rule}')" for rule in ROW_CONDITIONS}),
        columns=", ".join(columns),
        left_out="rules = ['off_session']" if policy.outside_hours == "expected" else "false",
        files=FILES,
    )


def parameters(dataset: Dataset, policy: ServiceLevel, instrument: str) -> dict[str, Parameter]:
    """What the SQL of `measures_query` has to be told of a data set and one of its instruments."""
    return {
        "dataset": dataset.name,
        "instrument": instrument,
        "start": str(dataset.start),
        "end": str(dataset.end or date.max),
        "keep_last": dataset.on_conflict == "keep_last",
        "has_volume": dataset.volume != "none",
        "max_range_ratio": policy.max_range_ratio,
    }


_OF_ACCEPTED = tuple(rule for rule in ROW_CONDITIONS if rule not in {"unparsable_ts", "conflicting_duplicate"})
_QUERY = """
WITH delivered AS (
  SELECT sequence, first_session, last_session, receipts.first AS from_ts, receipts.last AS to_ts,
    source = '{files}' AS of_file FROM receipts ANTI JOIN retractions USING (dataset, sequence)
  WHERE dataset = $dataset AND instrument = $instrument
), received AS (
  SELECT sequence, line, ts, open, high, low, close, CASE WHEN $has_volume THEN volume END AS volume FROM raw_bars
  SEMI JOIN delivered USING (sequence) WHERE dataset = $dataset AND instrument = $instrument
), accepted AS (
  SELECT session, ts, open, high, low, close, volume FROM bars
  WHERE dataset = $dataset AND instrument = $instrument AND NOT filled
), quarantined AS (
  SELECT session, sequence, line, ts, rules FROM quarantine WHERE dataset = $dataset AND instrument = $instrument
), judged AS (
  SELECT session, any_value(due) AS due{recorded} FROM sla_record
  WHERE dataset = $dataset AND instrument = $instrument AND session BETWEEN CAST($start AS DATE) AND CAST($end AS DATE)
  GROUP BY session
), doubled AS (
  SELECT sequence, ts FROM received WHERE ts IS NOT NULL GROUP BY sequence, ts HAVING count(*) > 1
), contradictions AS (
  SELECT sequence, ts, arg_max(row(open, high, low, close, volume), line) AS last
  FROM received JOIN doubled USING (sequence, ts)
  GROUP BY sequence, ts HAVING count(DISTINCT row(open, high, low, close, volume)) > 1
), labels AS (
  SELECT ts, session FROM accepted UNION SELECT ts, session FROM quarantined WHERE ts IS NOT NULL
), placed AS (
  SELECT received.*, coalesce(quarantined.session, labels.session) AS session,
    quarantined.line IS NOT NULL AS is_refused, coalesce(quarantined.rules, []) AS rules,
    last IS NOT NULL AND NOT $keep_last AS contradicted,
    last IS NOT NULL AND $keep_last AND row(open, high, low, close, volume) IS DISTINCT FROM last AS superseded
  FROM received
  LEFT JOIN quarantined ON quarantined.sequence = received.sequence AND quarantined.line = received.line
  LEFT JOIN labels ON labels.ts = received.ts
  LEFT JOIN contradictions ON contradictions.sequence = received.sequence AND contradictions.ts = received.ts
), having_rows AS (
  SELECT session, max(sequence) AS sequence FROM placed WHERE session IS NOT NULL GROUP BY session
), newest AS (
  SELECT session, coalesce(max(delivered.sequence), any_value(having_rows.sequence)) AS newest,
    coalesce(max(delivered.sequence) FILTER (NOT of_file), 0) AS newest_whole
  FROM having_rows LEFT JOIN delivered ON session BETWEEN first_session AND last_session GROUP BY session
), overtaken AS (
  SELECT DISTINCT placed.sequence, placed.line FROM placed JOIN delivered AS later
  ON later.of_file AND later.sequence > placed.sequence AND ts BETWEEN later.from_ts AND later.to_ts
    AND session BETWEEN later.first_session AND later.last_session
), counted AS (
  SELECT placed.* FROM placed JOIN newest USING (session) JOIN delivered ON delivered.sequence = placed.sequence
  ANTI JOIN overtaken ON overtaken.sequence = placed.sequence AND overtaken.line = placed.line
  WHERE placed.sequence = newest
    OR (ts IS NOT NULL AND placed.sequence >= newest_whole AND session BETWEEN first_session AND last_session)
), by_counted AS (
  SELECT session, count(*) FILTER (NOT ({left_out})) AS n_received,
    count(*) FILTER (is_refused AND NOT ({left_out})) AS n_refused,
    count(*) FILTER (list_contains(rules, 'null_ohlc')) AS n_null,
    count(*) FILTER (list_contains(rules, 'conflicting_duplicate')) AS n_conflicting
  FROM counted GROUP BY session
), by_received AS (
  SELECT session, {refused}, {broken} FROM placed WHERE NOT superseded GROUP BY session
), by_accepted AS (
  SELECT session, count(*) AS n_accepted, {accepted} FROM accepted GROUP BY session
), by_lost AS (
  SELECT judged.session, count(*) AS n_lost FROM (SELECT CAST(ts AS DATE) AS day FROM placed WHERE session IS NULL) AS stray
  ASOF JOIN judged ON stray.day >= judged.session
  WHERE stray.day < (SELECT max(session) FROM judged) GROUP BY judged.session
)
SELECT $instrument AS instrument, CAST(session AS VARCHAR) AS session, {columns}, coalesce(n_lost, 0) AS lost
FROM judged LEFT JOIN by_accepted USING (session) LEFT JOIN by_counted USING (session)
LEFT JOIN by_received USING (session) LEFT JOIN by_lost USING (session)
ORDER BY session
"""


def _of_limit(rule: str, limit: Limit) -> Iterator[Expectation]:
    """One expectation, or two where it is enforced from a date on and only warns before."""
    bounds = (rule, limit.at_least, limit.at_most)
    if limit.severity == "enforce" and limit.from_:
        yield Expectation(*bounds, enforced=False, why=limit.why, end=limit.from_)
    yield Expectation(*bounds, enforced=limit.severity == "enforce", why=limit.why, first=limit.from_)


def _rows() -> tuple[Expectation, ...]:
    kept = [
        Expectation(f"accepted_{rule}", None, 0, enforced=True, why="an accepted bar keeps every rule")
        for rule in _OF_ACCEPTED
    ]
    matched = [
        Expectation(
            f"unmatched_{rule}", 0, 0, enforced=True, why="quarantine has the rows that break a rule, and no others"
        )
        for rule in ROW_CONDITIONS
    ]
    lost = Expectation(
        "lost", None, 0, enforced=True, why="a received row is accepted, a twin of one, or in quarantine"
    )
    return (*kept, *matched, lost)


def _counts(prefix: str, conditions: dict[str, str]) -> str:
    return ", ".join(f"count(*) FILTER ({condition}) AS {prefix}_{rule}" for rule, condition in conditions.items())
