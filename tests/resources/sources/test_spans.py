"""Pieces of a span: together the whole, no day twice, each under the name of its time."""

from datetime import date, timedelta

from hypothesis import given as forall
from hypothesis import settings as checked
from hypothesis import strategies as st

from resources.sources.spans import Piece, pieces
from tests.resources.sources.suite import named

days = st.dates(date(2020, 1, 1), date(2020, 12, 31))


@forall(days, days, days, days, st.integers(1, 60))
@checked(max_examples=100)
def test_pieces_are_the_whole_span_in_order_and_none_is_too_long(a, b, c, d, n_days) -> None:
    (first, last), (listed, delisted) = sorted((a, b)), sorted((c, d))
    instrument = named("ONE.TEST", "one", listed=listed, delisted=delisted)
    cut = list(pieces(instrument, first=first, last=last, n_days=n_days))
    covered = [piece.first + timedelta(days=n) for piece in cut for n in range((piece.last - piece.first).days + 1)]
    assert covered == [first + timedelta(days=n) for n in range((last - first).days + 1)]
    for piece in cut:
        assert (piece.name == "one") == (listed <= piece.first <= piece.last <= delisted)
        assert piece.name is None or (piece.last - piece.first).days < n_days


def test_a_renamed_instrument_is_cut_where_its_name_changed() -> None:
    renamed = named("BAC.XNYS", "BAC", former=[{"symbol": "NB", "until": "1998-09-30"}])
    assert list(pieces(renamed, first=date(1998, 9, 29), last=date(1998, 10, 2), n_days=9)) == [
        Piece("NB", date(1998, 9, 29), date(1998, 9, 30)),
        Piece("BAC", date(1998, 10, 1), date(1998, 10, 2)),
    ]
