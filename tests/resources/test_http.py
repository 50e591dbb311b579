"""The door to the network: how often it asks, how long it waits, and what it will not take."""

import gzip
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import stamina

from resources.errors import GarbledAnswerError, UnreachableSourceError
from resources.http import (
    ATTEMPTS,
    LONGEST_WAIT_S,
    AskAgainError,
    earlier_clock,
    get_json,
    glimpse,
    patiently,
    retry_after,
    wait_before_next,
)
from tests.resources.sources.servers import LocalServer, Reply, as_json

NOW = datetime(2024, 3, 5, 12, tzinfo=UTC)
NOT_NOW = UnreachableSourceError("a source", "503")


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with stamina.set_testing(True, attempts=ATTEMPTS, cap=True):
        yield


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(lambda asked: as_json(dict(asked.query)), at=NOW).running() as local:
        yield local


def test_what_a_server_answers_comes_with_its_clock(server) -> None:
    answer = get_json(f"{server.url}/bars", {"since": 3})
    assert (answer.status, answer.document, answer.served_at) == (200, {"since": "3"}, NOW)


def test_an_answer_is_read_no_further_than_its_limit(server) -> None:
    server.faults.append(Reply("[" + "1," * 5_000 + "1]"))
    with pytest.raises(GarbledAnswerError, match="more than 1,000 bytes"):
        get_json(server.url, {}, most_bytes=1_000)
    assert len(server.asked) == 1


@pytest.mark.slow
def test_the_limit_counts_what_was_unpacked(server) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    server.faults.append(Reply(bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(GarbledAnswerError, match="more than 1,000,000 bytes"):
        get_json(server.url, {}, most_bytes=1_000_000)


def test_a_body_that_does_not_unpack_is_asked_for_again(server) -> None:
    server.faults.append(Reply(b"not gzip", headers={"Content-Encoding": "gzip"}))
    assert get_json(server.url, {"a": 1}).document == {"a": "1"}


def test_an_answer_too_deep_to_read_is_garbled(server) -> None:
    server.faults.extend([Reply("[" * 100_000)] * ATTEMPTS)
    with pytest.raises(GarbledAnswerError, match="expected JSON"):
        get_json(server.url, {})


def test_nobody_listening_is_an_error_that_says_so() -> None:
    with LocalServer(lambda _: as_json({}), at=NOW).running() as gone:
        url = gone.url
    with pytest.raises(UnreachableSourceError, match=r"ConnectError.*the next night goes on from there"):
        get_json(url, {})


def test_asking_ends_after_so_many_attempts() -> None:
    asked = []

    def call() -> None:
        asked.append(1)
        raise AskAgainError(NOT_NOW)

    with pytest.raises(UnreachableSourceError, match="503"):
        patiently(call)
    assert len(asked) == ATTEMPTS


def test_every_further_attempt_is_told_and_nothing_is_printed(caplog, capsys) -> None:
    answers = iter([AskAgainError(NOT_NOW), None])

    def call() -> str:
        if error := next(answers):
            raise error
        return "bars"

    with caplog.at_level(logging.WARNING, logger="resources.http"):
        assert patiently(call) == "bars"
    assert "asks_again attempt=1" in caplog.text
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(AskAgainError(NOT_NOW), True, id="as usual where the server says nothing"),
        pytest.param(AskAgainError(NOT_NOW, after=17.0), 17.0, id="as long as the server says"),
        pytest.param(AskAgainError(NOT_NOW, after=LONGEST_WAIT_S + 1), False, id="not at all where that is too long"),
        pytest.param(NOT_NOW, False, id="not after a final error"),
        pytest.param(KeyError("a"), False, id="not after an error of our own"),
    ],
)
def test_how_long_is_waited(error, expected) -> None:
    assert wait_before_next(error) is expected or wait_before_next(error) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param("120", 120.0, id="seconds"),
        pytest.param("Tue, 05 Mar 2024 12:02:00 GMT", 120.0, id="a date"),
        pytest.param("Tue, 05 Mar 2024 11:00:00 GMT", 0.0, id="a date that has passed"),
        pytest.param("soon", None, id="a word"),
        pytest.param("-5", None, id="a negative number"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_when_to_come_back_is_read_from_seconds_or_a_date(said: str, expected: float | None) -> None:
    assert retry_after({"Retry-After": said}, NOW) == expected


@pytest.mark.parametrize(
    ("there", "expected", "told"),
    [
        pytest.param(None, NOW, False, id="a server without a clock"),
        pytest.param(NOW + timedelta(seconds=5), NOW, False, id="a little fast"),
        pytest.param(NOW - timedelta(seconds=5), NOW - timedelta(seconds=5), False, id="a little slow"),
        pytest.param(NOW + timedelta(hours=1), NOW, True, id="an hour fast"),
        pytest.param(NOW - timedelta(hours=1), NOW - timedelta(hours=1), True, id="an hour slow"),
    ],
)
def test_the_earlier_clock_counts_and_a_difference_is_told(caplog, there, expected, told) -> None:
    assert earlier_clock(there, NOW, address="a source") == expected
    assert ("clock_differs source=a source" in caplog.text) == told


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<!DOCTYPE html><title>Just a\n moment</title>", "a web page"),
        ("<html><title>Wait &amp; see</title>", "a web page (Wait & see)"),
        ("  {'a':\n 1}", "\"{'a': 1}\""),
        ("", "nothing"),
    ],
)
def test_what_was_not_expected_is_shown_in_one_line(text: str, shown: str) -> None:
    assert glimpse(text) == shown
