"""A desk that is moved under a GPU installs its NVIDIA driver by itself, however often it is cut off.

The real program in a made-up root (gpu_machine.py), the real agent, idle watch and job runner beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotdesk.connect.job_runner import packed_runner
from hotdesk.guest import idle, working
from tests.gpu_machine import BUILT, DRIVER, READY_MADE, Machine
from tests.local_rig import wait_for


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# ---- when nothing is to be done --------------------------------------------------------------------------


def test_a_machine_without_a_gpu_does_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    shutil.rmtree(machine.root / "sys/bus/pci/devices")
    (machine.root / "sys/bus/pci/devices").mkdir()
    machine.device("0x1d0f", "0x030000")  # a display controller, and not of NVIDIA's
    machine.device("0x10de", "0x040300")  # of NVIDIA's, and not a display controller
    assert machine.boot()["state"] == "none"
    assert machine.did() == []


def test_an_image_with_a_driver_that_works_is_only_looked_at(machine: Machine) -> None:
    machine.brings("brought")
    machine.write("proc/modules", "nvidia 1 0 brought")
    told = machine.boot()
    assert (told["state"], told["version"]) == ("works", "580.95.05")
    assert [line.split()[0] for line in machine.did()] == ["nvidia-smi"]


def test_an_images_own_driver_is_loaded_and_never_replaced(machine: Machine) -> None:
    machine.brings("brought")
    machine.write("slow", 4)
    assert machine.boot()["state"] == "works", "it was loaded late"
    machine.write("answer", "")  # no device is known to it
    machine.write("proc/modules", "")
    told = machine.boot()
    assert told["state"] == "failed"
    assert "driver of its own" in told["why"]
    assert machine.did("apt-get", "dpkg", "ubuntu-drivers") == []
    assert machine.remark().fix == "hotdesk ssh blue -- nvidia-smi"


def test_one_is_enough(machine: Machine) -> None:
    with machine.stuck_at("update"):
        before = machine.did()
        assert machine.run()["state"] == "installing", "what the first is at"
        assert machine.did() == before


# ---- installing ------------------------------------------------------------------------------------------


def test_a_cpu_image_under_a_gpu_gets_the_driver_for_the_kernel_that_runs(machine: Machine) -> None:
    """1. the first boot with a GPU installs; 2. the next has nothing to do but to look."""
    told = machine.boot()
    assert (told["state"], told["version"]) == ("installed", "580.95.05")
    assert machine.asked_for() == [["ubuntu-drivers-common"], [*DRIVER, READY_MADE]]
    assert all("DPkg::Lock::Timeout" in line for line in machine.did("apt-get"))
    assert machine.did("modprobe") == ["modprobe nvidia", "modprobe nvidia-uvm"]
    assert machine.report().driver.works
    assert machine.remark().text.startswith("580.95.05 (installed in ")
    assert machine.remark().fix == ""
    log = (machine.root / "var/lib/hotdesk/driver.log").read_text()
    assert "== ubuntu-drivers list --gpgpu\nnvidia-driver-580-server-open, " in log
    assert machine.boot()["state"] == "works"
    assert machine.did("apt-get", "modprobe", "dpkg") == []


def test_where_no_modules_are_ready_made_for_this_kernel_they_are_built(machine: Machine) -> None:
    (machine.root / "archive" / READY_MADE).unlink()
    assert machine.boot()["state"] == "installed"
    assert machine.asked_for()[-2:] == [[*DRIVER, READY_MADE], [*DRIVER, *BUILT]]


def test_ready_made_modules_of_another_version_than_the_libraries_are_replaced(machine: Machine) -> None:
    machine.write("mismatch", "")
    assert machine.boot()["state"] == "installed"
    assert machine.asked_for()[-1] == [*DRIVER, *BUILT]
    assert machine.did("modprobe")[2] == "modprobe -r nvidia", "the loaded one is in the way"


def test_a_driver_that_only_a_build_can_bring_is_asked_for_last(machine: Machine) -> None:
    machine.write("offered", "")
    machine.write(
        "offered-built", "nvidia-driver-580-server-open, (kernel modules provided by nvidia-dkms)\n"
    )
    assert machine.boot()["state"] == "installed"
    assert machine.did("ubuntu-drivers") == [
        "ubuntu-drivers list --gpgpu",
        "ubuntu-drivers list --gpgpu --include-dkms",
    ]


def test_after_a_new_kernel_the_same_branch_gets_its_modules(machine: Machine) -> None:
    """1. installed; 2. a new kernel, and a newer branch on offer; 3. the branch stays."""
    machine.boot()
    (machine.root / "installed" / READY_MADE).unlink()  # those are of the kernel before
    machine.write("proc/modules", "")
    offered = (machine.root / "offered").read_text()
    machine.write("offered", "nvidia-driver-595-server-open, (kernel modules provided by z)\n" + offered)
    assert machine.boot()["state"] == "installed"
    assert machine.asked_for() == [[*DRIVER, READY_MADE]]
    machine.write("proc/modules", "")
    assert machine.boot()["state"] == "works", "its own driver only had to be loaded"
    assert machine.did("apt-get") == []


def test_gpus_behind_switches_get_their_fabric_manager(machine: Machine) -> None:
    machine.device("0x10de", "0x068000")
    machine.archive("nvidia-fabricmanager-580")
    assert machine.boot()["state"] == "installed"
    assert machine.asked_for()[-1] == ["nvidia-fabricmanager-580"]
    assert machine.did("systemctl") == ["systemctl enable --now --no-block nvidia-fabricmanager"]


def test_somebody_else_at_the_packages_is_waited_for(machine: Machine) -> None:
    machine.write("busy", 3)
    assert machine.boot()["state"] == "installed"
    assert len(machine.did("dpkg")) == 4, "three times it was locked"


def test_somebody_else_at_the_lists_of_packages_is_waited_for(machine: Machine) -> None:
    with machine.stuck_at("update"):
        machine.write("busy", 2)
    machine.write("did", "")
    with machine.stuck_at("list --gpgpu"):
        pass
    tries = [line for line in machine.did() if line.endswith("update") or line.startswith("dpkg")]
    assert len(tries) == 4


@pytest.mark.parametrize(
    "step",
    [
        "dpkg --configure -a",
        "-f install",
        "update",
        "unpacking ubuntu-drivers-common",
        "ubuntu-drivers list",
        f"unpacking {DRIVER[0]}",
        f"unpacking {DRIVER[1]}",
        f"unpacking {READY_MADE}",
        "modprobe nvidia$",
        "modprobe nvidia-uvm",
        "nvidia-smi",
    ],
)
def test_cut_off_at_any_step_the_next_boot_goes_on(machine: Machine, step: str) -> None:
    """1. cut off, with all that it began; 2. what is told meanwhile is a failure; 3. the next boot."""
    with machine.stuck_at(step) as process:
        assert machine.report().install.state in {"looking", "installing"}  # type: ignore[union-attr]
        process.kill()
        process.wait()
        told = machine.report().install
        assert told is not None
        assert (told.state, told.again) == ("failed", True)
        assert "cut off while" in told.why
    machine.write("proc/modules", "")
    assert machine.boot()["state"] == "installed"
    assert machine.installed() == {"ubuntu-drivers-common", *DRIVER, READY_MADE}
    assert not (machine.root / "cut-off").exists()
    assert machine.report().driver.works


def test_a_driver_that_works_already_is_not_all_of_it(machine: Machine) -> None:
    """1. cut off at the fabric manager; 2. at the next boot the driver itself works."""
    machine.device("0x10de", "0x068000")
    machine.archive("nvidia-fabricmanager-580")
    with machine.stuck_at("unpacking nvidia-fabricmanager-580"):
        pass
    assert machine.boot()["state"] == "installed"
    assert "nvidia-fabricmanager-580" in machine.installed()
    assert not (machine.root / "cut-off").exists()


def test_what_failed_and_was_then_mended_by_hand_is_left_alone(machine: Machine) -> None:
    for package in (READY_MADE, BUILT[1]):
        (machine.root / "archive" / package).unlink()
    assert machine.boot()["state"] == "failed"
    machine.brings("brought")
    assert machine.boot()["state"] == "works"
    assert machine.did("apt-get", "dpkg") == []


def test_cut_off_and_moved_back_to_a_cpu_the_packages_are_mended(machine: Machine) -> None:
    """1. cut off in the middle of a package; 2. the next machine has no GPU; its user wants to install."""
    with machine.stuck_at(f"unpacking {DRIVER[1]}"):
        pass
    assert (machine.root / "cut-off").exists()
    shutil.rmtree(machine.root / "sys/bus/pci/devices/0000:00:00.0")
    assert machine.boot()["state"] == "none"
    assert not (machine.root / "cut-off").exists()
    assert machine.asked_for() == [], "and nothing else is done there"
    assert machine.boot()["state"] == "none"
    assert machine.did() == [], "nor ever again"


# ---- when it cannot be -----------------------------------------------------------------------------------


def test_a_gpu_that_no_driver_is_for_is_told_in_words(machine: Machine) -> None:
    machine.write("offered", "")
    told = machine.boot()
    assert (told["state"], told["again"]) == ("failed", False)
    assert "no driver for this GPU (PCI 10de:1eb8): it may be too old" in told["why"]
    assert machine.asked_for() == [["ubuntu-drivers-common"]]


def test_what_failed_is_told_with_the_complaint_and_the_way_to_try_again(machine: Machine) -> None:
    for package in (READY_MADE, BUILT[1]):
        (machine.root / "archive" / package).unlink()
    told = machine.boot()
    assert told["log"] == [f"E: Unable to locate package {p}" for p in (READY_MADE, BUILT[1])]
    remark = machine.remark()
    assert "could not be installed: driver 580-server-open was not to be had / E: " in remark.text
    assert f"Unable to locate package {READY_MADE}" in remark.text
    assert remark.fix == "hotdesk ssh blue -- sudo systemctl restart hotdesk-driver"
    machine.archive(READY_MADE)
    assert machine.run()["state"] == "installed"


def test_another_distribution_is_left_alone(machine: Machine) -> None:
    machine.write("etc/os-release", "ID=debian")
    told = machine.boot()
    assert (told["state"], told["again"]) == ("failed", False)
    assert "not Ubuntu" in told["why"]
    assert machine.did("apt-get", "dpkg") == []


def test_what_does_not_end_is_given_up(machine: Machine) -> None:
    machine.write("hold", "update")
    began = time.monotonic()
    told = machine.boot(HOTDESK_LIMIT_SECONDS="1")
    assert time.monotonic() - began < 300
    assert (told["state"], told["again"]) == ("failed", True)
    assert told["why"] == "after 1 s it was not done with: apt-get"


def test_a_lock_that_is_never_let_go_is_given_up(machine: Machine) -> None:
    machine.write("busy", 1_000_000)
    assert "not done with: dpkg" in machine.boot(HOTDESK_LIMIT_SECONDS="1")["why"]


# ---- who waits, and who does not -------------------------------------------------------------------------


def test_an_old_image_that_was_moved_in_place_is_told_what_to_paste(machine: Machine) -> None:
    """Its set-up knew nothing of drivers, and no user data has run since."""
    assert machine.report().install is None
    assert "ubuntu-drivers install --gpgpu" in machine.remark().fix


def test_installing_is_work_and_its_progress_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "DRIVER", str(machine.root / "run/hotdesk/driver.json"))
    with machine.stuck_at(f"unpacking {READY_MADE}") as process:
        assert "the NVIDIA driver is being installed" in idle.Watch([]).look()
        assert "the NVIDIA driver is being installed" not in idle.Watch([], mark="a local desk").look()
        remark = machine.remark()
        assert remark.text.startswith("being installed for ")
        assert "(installing driver 580-server-open)" in remark.text
        assert remark.fix == "hotdesk show blue"
        process.kill()
        process.wait()
        assert "the NVIDIA driver is being installed" not in idle.Watch([]).look()


class Job:
    """The real runner, with one job that says when it began."""

    def __init__(self, machine: Machine, home: Path) -> None:
        self.home, self.machine = home, machine
        name, text = packed_runner()
        self.runner = home / ".hotdesk" / name
        self.runner.parent.mkdir(parents=True)
        self.runner.write_bytes(text)
        run = str(machine.root / "run/hotdesk")
        self.bystander = subprocess.Popen(["sleep", "600"])
        no_tmux = str(machine.root / "bin")
        self.environment = {"HOME": str(home), "HOTDESK_RUN": run, "PATH": no_tmux, "SHELL": "/bin/sh"}

    def ask(self, *words: str, given: bytes = b"") -> bytes:
        argv = [sys.executable, str(self.runner), *words]
        done = subprocess.run(argv, env=self.environment, input=given, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def begin(self) -> None:
        order = {"id": "j1", "attempt": 1, "command": ["echo it computes"], "folder": "."}
        self.ask("begin", given=json.dumps(order).encode())

    def log(self) -> str:
        return (self.home / ".hotdesk/jobs/j1/log").read_text()

    def status(self) -> dict[str, Any]:
        [job] = json.loads(self.ask("look"))["jobs"]
        return dict(job)

    def over(self) -> dict[str, Any]:
        wait_for(
            lambda: self.status()["phase"] in {"ended", "interrupted"} and not self.status()["alive"], 30
        )
        return self.status()


@pytest.fixture
def job(machine: Machine, tmp_path: Path) -> Iterator[Job]:
    made = Job(machine, tmp_path / "home")
    yield made
    made.bystander.kill()
    made.bystander.wait()


def test_a_job_waits_for_the_driver(machine: Machine, job: Job) -> None:
    with machine.stuck_at("list --gpgpu"):
        job.begin()
        assert job.status()["phase"] == "running"
        time.sleep(0.5)
        assert job.log().splitlines() == [
            "hotdesk: the NVIDIA driver is being installed; the job begins when that is done"
        ]
        machine.write(
            "run/hotdesk/driver.json", '{"state": "installed", "version": "580.1", "seconds": 61.2}'
        )
        status = job.over()
    assert (status["phase"], status["exit_status"]) == ("ended", 0)
    assert job.log().splitlines()[1:] == ["hotdesk: NVIDIA driver 580.1 after 61 s", "it computes"]
    assert status["seconds"] + 0.5 < status["ended_at"] - status["attempt_at"], "what it waited is no work"


def test_a_job_begins_without_a_driver_that_cannot_be_had(machine: Machine, job: Job) -> None:
    with machine.stuck_at("list --gpgpu") as process:
        job.begin()
        process.kill()
        process.wait()
        assert job.over()["exit_status"] == 0
    cut = "there is no NVIDIA driver: it was cut off while installing what knows the drivers"
    assert job.log().splitlines()[1:] == [f"hotdesk: {cut}; the job begins without", "it computes"]


def test_a_number_that_is_another_process_by_now_keeps_no_job(machine: Machine, job: Job) -> None:
    machine.boot()
    told = {"state": "installing", "step": "building driver 580", "pid": job.bystander.pid, "since": 0.0}
    machine.write("run/hotdesk/driver.json", json.dumps(told))
    job.begin()
    assert job.over()["exit_status"] == 0
    assert job.log() == "it computes\n"
    assert machine.report().install.state == "failed"  # type: ignore[union-attr]


@pytest.mark.parametrize(("number", "phase"), [(signal.SIGTERM, "interrupted"), (signal.SIGINT, "ended")])
def test_a_job_that_waits_ends_with_its_machine_or_at_ctrl_c(
    machine: Machine, job: Job, number: signal.Signals, phase: str
) -> None:
    with machine.stuck_at("list --gpgpu"):
        job.begin()
        os.kill(job.status()["pid"], number)
        assert job.over()["phase"] == phase
    assert "it computes" not in job.log()


def test_a_job_that_waits_can_be_cancelled(machine: Machine, job: Job) -> None:
    with machine.stuck_at("list --gpgpu"):
        job.begin()
        job.ask("cancel", "j1")
        status = job.over()
    assert (status["cancelled"], status["exit_status"]) == (True, 143)
    assert "it computes" not in job.log()
