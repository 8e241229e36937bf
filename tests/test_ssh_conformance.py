"""A machine with an ssh login obeys what every provider must: through the system's own sshd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import Conformance
from tests.far_rig import FarRig, far_machine, needs_sshd

#: Each law sets a far machine up anew, for half a minute or more: too long for every run.
pytestmark = [pytest.mark.tools("ssh"), needs_sshd, pytest.mark.long]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarRig]:
    with far_machine(tmp_path_factory.mktemp("far")) as machine:
        yield FarRig(tmp_path_factory.mktemp("state"), machine)


class TestSsh(Conformance):
    @pytest.fixture
    def rig(self, far: FarRig) -> FarRig:
        return far
