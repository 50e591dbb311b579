"""The ledger: a chain in which every change is found, and the stages it folds to."""

from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quality.errors import MalformedEntryError
from quality.hashes import document_hash
from quality.ledger import (
    Entry,
    Head,
    append_to,
    is_frozen,
    policy_is_new,
    promotion_is_due,
    read,
    review_is_new,
    stages,
    verify,
)
from quality.promotion import decide
from tests.gate import GOOD, HASH, NIGHT, RULES, STRATEGY, chain, draft, evidence_of, policy_of, review_of, reviewed

DAY = timedelta(days=1)


def history(length):
    """Entries that differ in content, as a ledger of some nights would hold."""
    return chain(*(draft("registered", strategy=f"s{n}@1.0.0", at=NIGHT + n * DAY) for n in range(1, length + 1)))


def stored(entries):
    return {entry.n: entry.canonical() for entry in entries}


def broken(files, head=None):
    return [fault.entry for fault in verify(files, head).broken]


def edited(entry, **changes):
    return Entry.model_validate(entry.model_dump() | {"by": "somebody else"} | changes).canonical()


def test_an_entry_is_its_canonical_bytes_and_its_hash_theirs():
    (entry,) = chain(draft("registered", code=HASH))
    assert entry.canonical().decode() == (
        '{"at":"2017-12-31T01:00:00Z","body":{"code":"' + HASH + '"},"by":"night","kind":"registered",'
        '"n":1,"prev":null,"strategy":"sma_cross@1.0.0"}'
    )
    assert entry.head == Head(n=1, hash=document_hash(entry.model_dump(mode="json")))
    assert read(entry.canonical()) == entry


def test_a_moment_is_kept_in_utc():
    abroad = NIGHT.astimezone(timezone(timedelta(hours=9)))
    assert chain(draft("registered", at=abroad)) == chain(draft("registered", at=NIGHT))


def test_every_entry_names_the_hash_of_the_one_before():
    entries = history(3)
    assert [entry.n for entry in entries] == [1, 2, 3]
    assert [entry.prev for entry in entries] == [None, entries[0].head.hash, entries[1].head.hash]


def test_a_sound_ledger_verifies_as_the_contract_prints_it():
    entries = history(3)
    seen = verify(stored(entries), entries[-1].head).model_dump(mode="json")
    assert seen == {"ok": True, "entries": 3, "head": entries[-1].head.hash, "broken": []}
    assert verify({}).model_dump(mode="json") == {"ok": True, "entries": 0, "head": None, "broken": []}


@given(st.integers(1, 6), st.data())
def test_an_edited_entry_is_named_itself(length, data):
    entries = history(length)
    n = data.draw(st.integers(1, length))
    change = data.draw(st.sampled_from([{"by": "x"}, {"at": NIGHT}, {"body": {"x": 1}}, {"strategy": "other@1.0.0"}]))
    files = stored(entries) | {n: edited(entries[n - 1], **change)}
    assert broken(files, entries[-1].head) == [n]


@given(st.integers(1, 6), st.data())
def test_a_missing_entry_is_named_by_its_number(length, data):
    entries = history(length)
    n = data.draw(st.integers(1, length))
    files = stored(entries)
    del files[n]
    assert broken(files, entries[-1].head) == [n]


@given(st.integers(2, 6), st.data())
def test_reordered_entries_are_found(length, data):
    entries = history(length)
    order = data.draw(st.permutations(range(1, length + 1)).filter(lambda order: order != sorted(order)))
    files = {place: entries[n - 1].canonical() for place, n in enumerate(order, start=1)}
    assert broken(files)[0] == next(place for place, n in enumerate(order, start=1) if place != n)


@given(st.integers(1, 5), st.data())
def test_any_other_bytes_of_any_entry_are_found(length, data):
    entries = history(length)
    n = data.draw(st.integers(1, length))
    content = bytearray(entries[n - 1].canonical())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert not verify(stored(entries) | {n: bytes(content)}, entries[-1].head).ok


def test_renumbering_the_chain_after_an_edit_is_found_by_the_published_head():
    entries = history(4)
    head, rewritten = None, []
    for entry in [read(edited(entries[0])), *entries[1:]]:
        rewritten.append(append_to(head, entry))
        head = rewritten[-1].head
    assert verify(stored(rewritten)).ok  # whoever can rewrite all of it, the published heads too, can still lie
    assert broken(stored(rewritten), entries[-1].head) == [4]


def test_a_cut_tail_is_found_by_the_published_head_and_only_by_it():
    entries = history(5)
    files = stored(entries[:3])
    assert verify(files).ok
    assert verify(files, entries[-1].head).broken[0].model_dump() == {
        "entry": 4,
        "problem": "entries 4 to 5 are missing",
    }
    assert broken({}, entries[-1].head) == [1]


def test_a_ledger_may_have_grown_since_its_head_was_published():
    entries = history(5)
    assert verify(stored(entries), entries[2].head).ok


def test_a_fork_is_named_where_it_begins():
    entries = history(3)
    files = stored(entries) | {4: edited(entries[2], n=4)}
    (fault,) = verify(files).broken
    assert fault.entry == 4
    assert "entry 4 follows entry 2, not 3: the ledger was forked" in fault.problem


def test_every_broken_entry_is_named_once_in_order():
    entries = history(9)
    files = stored(entries) | {2: b"{", 8: edited(entries[7])}
    del files[4], files[5]
    assert broken(files) == [2, 4, 8]


def test_a_number_far_away_is_one_hole_and_no_long_wait():
    entries = history(1)
    files = stored(entries) | {999_999_999: edited(entries[0], n=999_999_999, prev=HASH)}
    assert verify(files).broken[0].problem == "entries 2 to 999999998 are missing"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 10_000, "recursion limit"),
        (b"[]", "should be an object"),
        (b"{}", "Field required"),
        (chain(draft("registered"))[0].canonical() + b"\n", "not canonical"),
        (chain(draft("registered"))[0].canonical().replace(b'"n":1', b'"n":1.0'), "not canonical"),
        (chain(draft("registered", x=0.5))[0].canonical().replace(b"0.5", b"NaN"), "NaN|nan"),
        (chain(draft("registered"))[0].canonical().replace(b"registered", b"crowned"), "kind"),
        (
            chain(draft("registered"))[0].canonical().replace(b'"n":1', b'"n":0'),
            "^is no entry as the ledger writes it: n:",
        ),
        (chain(draft("registered"))[0].canonical().replace(b'"prev":null', b'"prev":"x"'), "prev"),
        (chain(draft("registered"))[0].canonical().replace(b'"n":1', b'"n":2'), "entry 2 has prev None"),
        (chain(draft("registered"))[0].canonical().replace(b"00:00Z", b"00:00"), "timezone"),
    ],
)
def test_bytes_that_are_no_entry_are_a_broken_entry_and_no_traceback(content, problem):
    with pytest.raises(MalformedEntryError, match=problem):
        read(content)
    assert broken({1: content}) == [1]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("registered", {"strategy": None}, "concerns one: name it"),
        ("policy", {}, "concerns all: leave it null"),
        ("frozen", {}, "concerns all: leave it null"),
        ("promoted", {}, "promoted to None: `to` in the body must be paper or live"),
        ("promoted", {"to": "lab"}, "promoted to 'lab'"),
        ("demoted", {"to": "live"}, "must be lab or paper"),
        ("decision", {"approved": True}, "Field required"),
        ("registered", {"strategy": "sma_cross"}, "pattern"),
        ("registered", {"by": ""}, "at least 1 character"),
    ],
)
def test_a_draft_says_what_its_kind_needs(kind, changes, message):
    shape = {name: value for name, value in changes.items() if name in ("strategy", "by")}
    body = {name: value for name, value in changes.items() if name not in shape}
    with pytest.raises(ValidationError, match=message):
        Entry.model_validate(
            {"n": 1, "prev": None, "kind": kind, "at": NIGHT, "by": "night", "strategy": STRATEGY, "body": body} | shape
        )


REFUSAL, APPROVAL = review_of(oos_sharpe=0.9), review_of()
REGISTERED, PROMOTED = draft("registered"), draft("promoted", at=NIGHT + DAY, to="paper", decision=APPROVAL.id)


@pytest.mark.parametrize(
    ("drafts", "stage", "since"),
    [
        pytest.param([REGISTERED], "lab", NIGHT, id="who is registered starts in the lab"),
        pytest.param([REGISTERED, reviewed(REFUSAL)], "lab", NIGHT, id="a refusal moves nobody"),
        pytest.param([REGISTERED, reviewed(APPROVAL)], "lab", NIGHT, id="an approval alone moves nobody"),
        pytest.param([REGISTERED, PROMOTED], "paper", NIGHT + DAY, id="a promotion moves up"),
        pytest.param([REGISTERED, PROMOTED, draft("demoted", to="lab")], "lab", NIGHT, id="a demotion moves down"),
        pytest.param([REGISTERED, PROMOTED, draft("halted")], "halted", NIGHT, id="a halt stops"),
        pytest.param(
            [REGISTERED, PROMOTED, draft("halted"), draft("resumed", to="paper")], "paper", NIGHT, id="a resume goes on"
        ),
        pytest.param([REGISTERED, draft("retired")], "retired", NIGHT, id="who is retired has left"),
        pytest.param([REGISTERED, PROMOTED, draft("registered")], "paper", NIGHT + DAY, id="registering twice is once"),
        pytest.param([REGISTERED, draft("frozen", strategy=None)], "lab", NIGHT, id="a freeze moves nobody"),
    ],
)
def test_a_stage_is_the_fold_of_the_ledger(drafts, stage, since):
    standing = stages(chain(*drafts), expires_days=7)[STRATEGY]
    assert (standing.stage, standing.since) == (stage, since)


def test_a_standing_reads_as_the_contract_prints_it():
    entries = chain(REGISTERED, reviewed(APPROVAL, at=NIGHT + DAY), PROMOTED)
    assert stages(entries, expires_days=7)[STRATEGY].model_dump(mode="json") == {
        "strategy": STRATEGY,
        "stage": "paper",
        "since": "2018-01-01T01:00:00Z",
        "capital": 0.0,
        "decision": APPROVAL.id,
        "expires": "2018-01-08T01:00:00Z",
    }


def test_strategies_stand_apart_and_who_never_registered_stands_nowhere():
    other = draft("registered", strategy="other@1.0.0")
    entries = chain(other, REGISTERED, PROMOTED, draft("promoted", strategy="ghost@1.0.0", to="live"))
    assert {name: at.stage for name, at in stages(entries, expires_days=7).items()} == {
        "other@1.0.0": "lab",
        STRATEGY: "paper",
    }


def test_a_freeze_lasts_until_it_is_lifted():
    frozen, unfrozen = draft("frozen", strategy=None), draft("unfrozen", strategy=None)
    assert not is_frozen(chain(REGISTERED))
    assert is_frozen(chain(REGISTERED, frozen, REGISTERED))
    assert not is_frozen(chain(frozen, unfrozen))
    assert is_frozen(chain(frozen, unfrozen, frozen))


STRICTER = policy_of(to_paper=(*RULES[:1], RULES[1] | {"at_least": 1.1}, *RULES[2:]))


@pytest.mark.parametrize(
    ("drafts", "decision", "is_new"),
    [
        pytest.param([], REFUSAL, True, id="the first review"),
        pytest.param([reviewed(REFUSAL)], REFUSAL, False, id="a retried review"),
        pytest.param([reviewed(REFUSAL)], review_of(oos_sharpe=0.8), False, id="other numbers, the same failed rules"),
        pytest.param([reviewed(REFUSAL)], review_of(oos_sharpe=0.9, max_drawdown=0.3), True, id="one rule more failed"),
        pytest.param([reviewed(REFUSAL)], review_of(max_drawdown=0.3), True, id="another rule failed"),
        pytest.param([reviewed(REFUSAL)], review_of(policy=STRICTER, oos_sharpe=0.9), True, id="the limit was another"),
        pytest.param([reviewed(REFUSAL)], APPROVAL, True, id="another outcome"),
        pytest.param([reviewed(APPROVAL)], review_of("live"), True, id="another step"),
        pytest.param(
            [reviewed(APPROVAL), PROMOTED, draft("demoted", to="lab")], APPROVAL, True, id="it has moved since"
        ),
        pytest.param([reviewed(REFUSAL), reviewed(APPROVAL)], REFUSAL, True, id="back to an older outcome"),
        pytest.param([reviewed(REFUSAL, at=NIGHT - 7 * DAY)], REFUSAL, True, id="the predecessor has expired"),
        pytest.param([reviewed(REFUSAL, at=NIGHT - 6 * DAY)], REFUSAL, False, id="the predecessor has not expired yet"),
        pytest.param(
            [reviewed(REFUSAL), reviewed(decide(policy_of(), evidence_of(GOOD, strategy="other@1.0.0"), "paper"))],
            REFUSAL,
            False,
            id="another strategy's review is no predecessor",
        ),
    ],
)
def test_a_review_is_appended_only_when_it_says_something_new(drafts, decision, is_new):
    entries = chain(REGISTERED, *drafts)
    assert review_is_new(entries, decision, now=NIGHT, expires_days=7) == is_new


def test_a_policy_is_recorded_when_it_is_another_than_the_last():
    def recorded(policy):
        return draft("policy", strategy=None, **policy.document())

    assert policy_is_new([], policy_of())
    assert not policy_is_new(chain(recorded(policy_of()), REGISTERED), policy_of())
    assert policy_is_new(chain(recorded(policy_of())), STRICTER)
    assert policy_is_new(chain(recorded(policy_of()), recorded(STRICTER)), policy_of())


@pytest.mark.parametrize(
    ("drafts", "decision", "approvals", "due"),
    [
        pytest.param([REGISTERED], APPROVAL, 0, True, id="an approved strategy moves"),
        pytest.param([REGISTERED], REFUSAL, 0, False, id="a refused one stays"),
        pytest.param([REGISTERED], APPROVAL, 2, True, id="approvals are for the step to live only"),
        pytest.param([REGISTERED, PROMOTED], review_of("live"), 1, False, id="where people must sign the system waits"),
        pytest.param([REGISTERED, PROMOTED], APPROVAL, 0, False, id="nobody moves twice"),
        pytest.param([REGISTERED, draft("halted")], APPROVAL, 0, False, id="who is halted stays halted"),
        pytest.param([REGISTERED, draft("retired")], APPROVAL, 0, False, id="who is retired stays retired"),
        pytest.param([REGISTERED, draft("frozen", strategy=None)], APPROVAL, 0, False, id="in a freeze nobody moves"),
        pytest.param([], APPROVAL, 0, False, id="who is not registered has nowhere to move from"),
        pytest.param([REGISTERED], review_of("live"), 0, False, id="nobody skips paper"),
        pytest.param(
            [REGISTERED, PROMOTED], review_of("live"), 0, True, id="from paper to live without signatures asked"
        ),
    ],
)
def test_the_system_promotes_only_where_nothing_speaks_against_it(drafts, decision, approvals, due):
    assert promotion_is_due(chain(*drafts), decision, policy_of(approvals=approvals)) == due
