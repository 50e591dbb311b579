"""Identities: equal things have one hash, and what a reader cannot see in the result does not change it."""

import math
from hashlib import sha256
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.hashes import code_hash, document_hash

SOURCE = '''
"""A module."""

def signal(close, length=20):
    """Says when."""
    return close > length  # above
'''

# RFC 8785 (JSON Canonicalization Scheme), section 3.2.2: this document and the canonical form printed in 3.2.3.
RFC_DOCUMENT = {
    "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
    "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
    "literals": [None, True, False],
}
RFC_CANONICAL = (
    r'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
    r'"string":"€$\u000f\nA' + r"'B\"\\\\\"/" + r'"}'
)

words = st.text("abé€", max_size=3)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | words
documents = st.dictionaries(words, scalars | st.lists(scalars, max_size=3), max_size=5)


def test_a_document_is_hashed_over_the_canonical_bytes_of_the_standard():
    assert document_hash(RFC_DOCUMENT) == f"sha256:{sha256(RFC_CANONICAL.encode()).hexdigest()}"


@given(documents)
def test_the_order_of_keys_changes_nothing(document):
    assert document_hash(dict(reversed(document.items()))) == document_hash(document)


@pytest.mark.parametrize("changed", [{"fast": 21}, {"fast": "20"}, {"fast": None}, {"slow": 20}, {}, {"fast": [20]}])
def test_another_document_has_another_hash(changed):
    assert document_hash(changed) != document_hash({"fast": 20})


def test_a_whole_number_is_one_number_however_it_is_written():
    assert document_hash({"length": 20.0}) == document_hash({"length": 20})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_has_no_hash(value):
    with pytest.raises(ValueError, match=r"(?i)nan|inf"):
        document_hash({"sharpe": value})


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(SOURCE.replace("  # above", ""), id="without its comment"),
        pytest.param(SOURCE.replace('    """Says when."""\n', ""), id="without a function's docstring"),
        pytest.param(SOURCE.replace('"""A module."""', '"""Another."""'), id="with another module docstring"),
        pytest.param(SOURCE.replace("close, length=20", "\n    close,\n    length=20,\n"), id="in other lines"),
        pytest.param(SOURCE.replace("\n", "\n\n"), id="with more room"),
    ],
)
def test_code_that_means_the_same_has_the_same_hash(changed):
    assert changed != SOURCE
    assert code_hash([changed]) == code_hash([SOURCE])


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(SOURCE.replace("20", "21"), id="another default"),
        pytest.param(SOURCE.replace(">", ">="), id="another comparison"),
        pytest.param(SOURCE.replace("signal", "signals"), id="another name"),
        pytest.param(SOURCE.replace("return close", 'return "close"'), id="a string that is no docstring"),
    ],
)
def test_code_that_means_something_else_has_another_hash(changed):
    assert code_hash([changed]) != code_hash([SOURCE])


def test_methods_and_classes_lose_their_docstrings_too():
    bare = dedent("""
        class Cross:
            fast: int = 20
            async def ask(self): return 1
    """)
    told = dedent('''
        class Cross:
            """Crosses."""
            fast: int = 20
            async def ask(self):
                """Asks."""
                return 1
    ''')
    assert code_hash([told]) == code_hash([bare])


def test_the_order_of_sources_counts():
    assert code_hash(["a = 1", "b = 2"]) != code_hash(["b = 2", "a = 1"])
