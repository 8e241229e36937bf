"""A few kills with a second computer at work; `python -m tests.storm` is as many as there is time for."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.storm import storm

pytest.importorskip("moto", reason="moto is not installed")
pytest.importorskip("asyncssh", reason="asyncssh is not installed")

pytestmark = pytest.mark.long
AWS = Path(sys.executable).with_name("aws")


@pytest.mark.skipif(not shutil.which("ssh"), reason="there is no ssh client")
@pytest.mark.skipif(not AWS.exists(), reason="the aws command line is not installed beside this Python")
def test_a_few_kills_at_two_computers(tmp_path: Path) -> None:
    said: list[str] = []
    assert storm(kills=3, seed=5, folder=tmp_path, every=3, tell=said.append) >= 3, said
