"""The machines of a sweep as desks: what the driver is told of them."""

from __future__ import annotations

from pathlib import Path

from hotdesk.core.model import Goal, Want
from hotdesk.core.sweep.model import Sweep
from hotdesk.state.store import Store
from hotdesk.sweep.fleet import DeskSite
from tests.laptop import Laptop
from tests.sim import Cloud

NAME = "sweep1-1"


def site(laptop: Laptop, folder: Path) -> DeskSite:
    return DeskSite(
        sweep=Sweep(
            number=1, desk="blue", image="", provider="sim", command=("a",), created_at=1.0, folder=""
        ),
        folder=folder,
        secrets=lambda sweep: {},
        want=Want(),
        store=laptop.store,
        clouds=laptop.reconciler.clouds,
        clock=laptop.clock,
        reconciler=laptop.reconciler,
    )


def test_a_machine_that_another_command_acts_on_is_there_also_for_a_driver_that_has_just_begun(
    tmp_path: Path,
) -> None:
    """A watcher holds each desk for a moment. A machine that was taken for lost would do its tasks twice."""
    laptop = Laptop(Cloud(), tmp_path / "state")
    laptop.want(NAME, Goal.RUNNING)
    assert laptop.settle(NAME) is None
    before = site(laptop, tmp_path).tick([NAME], [])
    assert list(before) == [NAME]
    with Store(tmp_path / "state") as other, other.hold(NAME, "hotdesk watch") as held:
        assert held
        assert site(laptop, tmp_path).tick([NAME], []) == before
    laptop.store.close()
