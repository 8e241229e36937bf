"""Starting a sweep from the page: the line that it shows is the one that it does, and it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

pytest.importorskip("starlette", reason="the extra web is not installed")
pytest.importorskip("uvicorn", reason="the extra web is not installed")
pytest.importorskip("wsproto", reason="the extra web is not installed")

from hotdesk.cli.commands.sweep import start
from hotdesk.cli.ui import sweep_asked
from hotdesk.core.errors import Usage
from hotdesk.core.sweep import estimate
from hotdesk.web.sweep_start import NewSweep
from tests.conftest import Command
from tests.web_rig import Complaints, browser, looking, web

if TYPE_CHECKING:
    from playwright.sync_api import Page

LATE = 300_000  # Ray takes minutes to start on a busy computer


def test_when_a_sweep_ends_at_best_and_at_worst() -> None:
    """Ten tasks of an hour are left, two of them run, on two machines: 4.5 to more than 6.25 h."""
    best, worst = estimate.left(8, 2, 3600.0, 2, 2)
    assert best == 4.5 * 3600
    assert 6.25 * 3600 < worst < 8 * 3600
    assert estimate.left(0, 1, 3600.0, 1, 1) == (1800.0, 4500.0)


@pytest.mark.parametrize(
    "asked",
    [
        NewSweep(name="blue", command="python train.py --lr {lr}", params=("lr=1e-4,3e-4",)),
        NewSweep(name="blue", command="echo '{x} y' | tee out", params=("x=0..3",), anyway=True),
        NewSweep(
            name="blue",
            command="python train.py --lr {lr} '--note=a b' {seed}",
            params=("lr=log:1e-5..1e-1", "seed=0..4"),
            samples=3,
            machines=2,
            cpus=0.5,
            per_gpu=4,
            memory=1.5,
            retries=0,
            time_limit="90m",
            deadline="8h",
            budget=2.5,
            pull=("results", "a b"),
            checkpoint="ckpt/last",
            checkpoint_gib=0.5,
        ),
    ],
)
def test_the_line_of_a_sweep_is_the_command_that_starts_it(
    asked: NewSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    context = start.make_context("start", asked.line[3:])
    given: dict[str, Any] = dict(context.params)
    desk, file = given.pop("desk"), given.pop("file")
    read = sweep_asked.request(context.meta["words"], desk, file, given)
    assert given["detach"] is True
    assert replace(read, folder=str(tmp_path)) == asked.request


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"command": " "}, "command is missing"),
        ({"command": "echo 'x"}, "not whole"),
        ({"params": ("lr=1", "lr=2")}, "lr is given twice"),
        ({"params": ("lr",)}, "gives no values"),
        ({"machines": 0}, "machines is 0"),
        ({"time_limit": "soon"}, "soon"),
        ({"folder": "here"}, "no folder"),
        ({"checkpoint_gib": 0.0}, "checkpoint_gib is 0"),
    ],
)
def test_what_is_no_sweep_is_told_so(changed: dict[str, Any], word: str) -> None:
    asked = replace(NewSweep(name="blue", command="echo {lr}", params=("lr=1,2",)), **changed)
    with pytest.raises(Usage) as told:
        _ = asked.request
    assert word in told.value.what


@pytest.mark.browser
@pytest.mark.long  # Ray starts beside Chromium and a desk: on two cores that takes minutes
def test_a_sweep_is_started_from_the_page(
    hotdesk: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its desk still open: the page says that it is parked first, and asks."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'hotdesk[sweep]'")
    project = tmp_path / "project"
    project.mkdir()
    (project / "square.py").write_text(
        'import json, sys\nprint(json.dumps({"square": int(sys.argv[1]) ** 2}))\n'
    )
    monkeypatch.chdir(project)
    assert hotdesk("up", "blue").returncode == 0
    with browser() as chrome, web() as served, looking(chrome, tmp_path, width=1280) as page:
        wrong = Complaints(page, served.place)
        page.goto(served.link)
        page.click("nav >> text=Sweeps")
        page.click("button:text-is('Start a sweep')")
        page.fill("dialog input[placeholder*=train]", "python square.py {n}")
        page.fill("dialog textarea", "n=0..4")
        page.click("text=Limits and results")
        page.fill("dialog label:has-text('Checkpoint') input", "ckpt")
        page.fill("dialog label:has-text('No greater one') input", "0.5")
        page.wait_for_selector("dialog >> text=blue is not parked.", timeout=LATE)
        page.click("text=Agree, and look again")
        page.wait_for_selector("dialog >> text=5 tasks on 1 machines", timeout=LATE)
        page.wait_for_selector("dialog .steps >> text=Take an image")
        assert "--checkpoint ckpt --checkpoint-gib 0.5" in page.inner_text("dialog .plan")
        assert "free" in page.inner_text("dialog .price")
        page.click("dialog button[type=submit]")
        page.wait_for_selector("h2:has-text('Sweep 1 · done')", timeout=LATE)
        assert squares(page) == ["0", "1", "4", "9", "16"]
        # (Chromium reports an answer that asks a question, as that the desk is parked first.)
        assert [text for text in wrong if "409 (Conflict)" not in text] == []


def squares(page: Page) -> list[str]:
    """The column of the metric."""
    page.wait_for_selector("[role=img][aria-label='5 done']", timeout=LATE)
    return page.locator(
        "section.card:has(h2:text-is('Tasks')) tbody tr.can td:nth-child(4)"
    ).all_inner_texts()
