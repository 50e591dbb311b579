"""Slow, obvious twins of the kernels. They import nothing from the code under test.

The simulator's is `replayed`. It lives in `quality/fills_oracle.py`, because every night asks it too.

`judged`, `followed`, `filled` and `digested` are the judge of bars and what their sessions are counted by, row by row over
dictionaries, written from the contract `data.md`.
"""

import hashlib
import itertools
import math
import struct
from datetime import UTC, datetime, time, timedelta

from quality.fills_oracle import replayed

__all__ = ["digested", "filled", "followed", "judged", "replayed"]

OHLC = ("open", "high", "low", "close")
OHLCV = (*OHLC, "volume")


def judged(rows, receipts, due, closes, *, first, last, length, keep_last, max_range):
    """What becomes of `rows`: `{"accepted", "quarantined", "counts", "restatements"}`.

    `rows` are dictionaries with sequence, line, ts and the five values, `receipts` ones with sequence, received_at,
    first_session and last_session, `due` ones with session, ts and known_at, `closes` ones with session, open and
    close; `length` is a timedelta. Accepted are the rows themselves by ts, quarantined is the set of broken rules by
    (sequence, line), counts are dictionaries by session, restatements tuples of kind, ts, sequence, line and the rows
    before and after.
    """
    bars_due = {bar["ts"]: bar for bar in due}
    said = {receipt["sequence"]: receipt for receipt in receipts}
    owner = {id_of(row): owner_of(row, bars_due, closes, said) for row in rows}
    rows = [row for row in rows if owner[id_of(row)] and first <= owner[id_of(row)]["session"] <= last]
    session_of = {id_of(row): owner[id_of(row)]["session"] for row in rows}
    broken, spare, doubled, superseded = {}, set(), set(), {}
    for row in rows:
        name = id_of(row)
        twins = [other for other in rows if row["ts"] and (other["sequence"], other["ts"]) == (name[0], row["ts"])]
        conflict = any(not same_values(row, twin) for twin in twins)
        end = max(twins, key=id_of, default=None)
        if twins and name[1] != (max if keep_last else min)(twin["line"] for twin in twins):
            spare.add(name)
            if keep_last and not same_values(row, end):
                superseded[name] = end
            elif keep_last or not conflict:
                doubled.add(name)
        known_at = bars_due[row["ts"]]["known_at"] if row["ts"] in bars_due else None
        opened = owner[name].get("open")
        broken[name] = rules_broken(row, known_at, opened, said[name[0]]["received_at"], length, max_range)
        if name in superseded:
            broken[name] = set()
        if conflict and not keep_last:
            broken[name].add("conflicting_duplicate")
    good = [row for row in rows if not broken[id_of(row)] and id_of(row) not in spare]
    counts = counted(rows, session_of, broken, doubled, receipts)
    for session in counts:
        own = [row for row in good if session_of[id_of(row)] == session]
        counts[session] |= timed(own, bars_due, said, [close["session"] for close in closes])
    return {
        "accepted": newest(good),
        "quarantined": {name: rules for name, rules in broken.items() if rules},
        "counts": counts,
        "restatements": restated(rows, good, superseded, session_of, receipts),
    }


def id_of(row):
    return row["sequence"], row["line"]


def owner_of(row, bars_due, closes, said):
    """The session a row belongs to, with its open where it is known."""
    if row["ts"] in bars_due:
        return {"session": bars_due[row["ts"]]["session"]}
    if row["ts"] is None:
        asked = said[row["sequence"]]["first_session"]
        return next(({"session": close["session"]} for close in closes if close["session"] >= asked), None)
    for close, after in zip(closes, [*closes[1:], None], strict=True):
        if close["close"] >= row["ts"]:
            return after if after and after["open"] == row["ts"] else close
    return {"session": row["ts"].date()}


def rules_broken(row, known_at, opened, received_at, length, max_range):
    broken = set()
    prices = [row[name] for name in OHLC]
    if any(price is None or not math.isfinite(price) for price in prices):
        broken.add("null_ohlc")
    else:
        open_price, high, low, close_price = prices
        if min(prices) <= 0:
            broken.add("non_positive_price")
        if high < open_price or high < close_price:
            broken.add("high_below_body")
        if low > open_price or low > close_price:
            broken.add("low_above_body")
        if max_range is not None and low > 0 and high > low * max_range:
            broken.add("improbable_range")
    if row["volume"] is not None:
        broken |= {"negative_volume"} if row["volume"] < 0 else set()
        broken |= set() if math.isfinite(row["volume"]) else {"unreadable_volume"}
    if row["ts"] is None:
        broken.add("unparsable_ts")
    elif known_at is None:
        midnight = datetime.combine(row["ts"].date(), time(), UTC)
        on_clock = (row["ts"] - midnight) % length == timedelta(0)
        from_open = opened is not None and (row["ts"] - opened) % length == timedelta(0)
        broken.add("off_session" if on_clock or from_open else "off_grid")
    elif received_at < known_at:
        broken.add("unclosed_bar")
    return broken


def same_values(one, other, *, noise=0.0):
    return all(same(one[name], other[name], noise) for name in OHLCV)


def same(one, other, noise):
    if noise:  # between receipts a volume that is not known is not known, however it is written
        one, other = (math.nan if value is None else value for value in (one, other))
    if one is None or other is None:
        return one is other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= noise * max(abs(one), abs(other))


def newest(good):
    accepted = {}
    for row in sorted(good, key=id_of):
        held = accepted.get(row["ts"])
        if held is None or not same_values(held, row, noise=1e-12):
            accepted[row["ts"]] = row
    return dict(sorted(accepted.items()))


def restated(rows, good, superseded, session_of, receipts):
    told = []
    for ts in {row["ts"] for row in rows} - {None}:
        own = [row for row in rows if row["ts"] == ts]
        session = session_of[id_of(own[0])]
        held, lacked = None, False
        for receipt in sorted(receipts, key=lambda receipt: receipt["sequence"]):
            sequence = receipt["sequence"]
            here = [row for row in own if row["sequence"] == sequence]
            told += [
                ("superseded", ts, *id_of(row), row, superseded[id_of(row)]) for row in here if id_of(row) in superseded
            ]
            kept = next((row for row in here if row in good), None)
            if kept is not None:
                if held is not None and not same_values(held, kept, noise=1e-12):
                    told.append(("changed", ts, *id_of(kept), held, kept))
                if held is None or not same_values(held, kept, noise=1e-12):
                    held = kept
            if here:
                lacked = False
            elif covers(receipt, session, ts):
                if held is not None and not lacked:
                    told.append(("withdrawn", ts, sequence, 0, held, None))
                lacked = True
    return told


def speaks(receipt, session):
    return receipt["first_session"] <= session <= receipt["last_session"]


def covers(receipt, session, ts):
    """Whether a receipt had to bring a row, were there one; a file says nothing of what lies outside its rows."""
    if not speaks(receipt, session) or receipt.get("source") != "files" or ts is None:
        return speaks(receipt, session)
    return receipt["first"] is not None and receipt["first"] <= ts <= receipt["last"]


def counted(rows, session_of, broken, doubled, receipts):
    counts = {}
    for session in sorted(set(session_of.values())):
        own = [row for row in rows if session_of[id_of(row)] == session]
        speaking = {one["sequence"] for one in receipts if speaks(one, session)}
        if not speaking:
            speaking = {max(row["sequence"] for row in own)}
        arrived = [
            row
            for row in sorted(own, key=id_of)
            if row["sequence"] in speaking
            and not any(one["sequence"] > row["sequence"] and covers(one, session, row["ts"]) for one in receipts)
        ]
        names = [id_of(row) for row in arrived]
        dated = [row for row in arrived if row["ts"]]
        counts[session] = {
            "received": len(names),
            "refused": sum(1 for name in names if broken[name]),
            "null_rows": sum(1 for name in names if "null_ohlc" in broken[name]),
            "conflicting": sum(1 for name in names if "conflicting_duplicate" in broken[name]),
            "identical": sum(1 for name in names if name in doubled),
            "outside_hours": sum(1 for name in names if broken[name] == {"off_session"}),
            "disordered": sum(1 for row in dated if any(overtakes(later, row) for later in dated)),
        }
    return counts


def overtakes(later, row):
    return later["sequence"] == row["sequence"] and later["line"] > row["line"] and later["ts"] < row["ts"]


def timed(good, bars_due, said, sessions):
    """How late the bars of a session were first received, those that came alone."""
    late = []
    for ts in {row["ts"] for row in good}:
        receipt = said[min(row["sequence"] for row in good if row["ts"] == ts)]
        if sum(receipt["first_session"] <= session <= receipt["last_session"] for session in sessions) <= 1:
            late.append((receipt["received_at"] - bars_due[ts]["known_at"]).total_seconds() / 60)
    return {"n_timed": len(late), "lateness_minutes": max(late, default=None)}


def followed(bars, actions, *, traded):
    """`{session: (longest run of stale bars, largest absolute log return)}` of bars in order, the first one given away.

    `bars` are dictionaries with session and the five values; `actions` ones with ex_date, kind and value.
    """
    found = {}
    run, of = 0, None
    for last, bar in itertools.pairwise(bars):
        split = math.prod(one["value"] for one in actions if one["kind"] == "split" and between(last, one, bar))
        paid = sum(one["value"] for one in actions if one["kind"] == "dividend" and between(last, one, bar))
        ex_close = last["close"] / split
        moved = abs(math.log(bar["close"] / (ex_close - paid)))
        stale = all(bar[name] == last[name] for name in OHLC) and not (traded and bar["volume"] != 0)
        run = (run if bar["session"] == of else 0) + 1 if stale else 0
        of = bar["session"]
        longest, largest = found.get(of, (0, 0.0))
        found[of] = (max(longest, run), max(largest, moved))
    return found


def between(last, action, bar):
    return last["session"] < action["ex_date"] <= bar["session"]


def filled(accepted, due, before):
    """Due moments without a bar, in sessions that have one, with the close before them."""
    closes = {bar["ts"]: bar["close"] for bar in [*before, *accepted]}
    sessions, stamps = {bar["session"] for bar in accepted}, {bar["ts"] for bar in accepted}
    found = {}
    for bar in due:
        earlier = [ts for ts in closes if ts < bar["ts"]]
        if bar["session"] in sessions and bar["ts"] not in stamps and earlier:
            found[bar["ts"]] = closes[max(earlier)]
    return found


def digested(bars):
    """`{session: (digest, n_bars)}` of dictionaries with session, ts and the five values, in order of ts."""
    packed = {}
    for bar in bars:
        micros = round((bar["ts"] - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
        values = [math.nan if bar[name] is None else bar[name] for name in OHLCV]
        values = [0.0 if value == 0 else value for value in values]
        packed.setdefault(bar["session"], []).append(struct.pack("<q5d", micros, *values))
    return {
        session: (hashlib.blake2b(b"".join(rows), digest_size=32).hexdigest(), len(rows))
        for session, rows in packed.items()
    }
