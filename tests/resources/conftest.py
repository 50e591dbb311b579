"""What the tests of handles share: a lake of their own."""

from pathlib import Path

import pytest

from resources.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path / "lake"), lock_path=str(tmp_path / "lock"))
