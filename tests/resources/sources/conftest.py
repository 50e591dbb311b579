"""What the tests of sources share: nobody waits between attempts, and 127.0.0.1 is asked without a proxy."""

from collections.abc import Iterator

import pytest
import stamina

from resources.http import ATTEMPTS


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with stamina.set_testing(True, attempts=ATTEMPTS, cap=True):
        yield
