"""Every provider obeys the same suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import Conformance
from tests.local_rig import LocalRig, rig_in


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRig]:
    with rig_in(tmp_path_factory.mktemp("state")) as rig:
        yield rig


class TestLocal(Conformance):
    @pytest.fixture
    def rig(self, local: LocalRig) -> LocalRig:
        return local
