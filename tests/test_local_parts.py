"""The parts of the local provider that need no machine to be tried."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdesk.connect.keys import desk_keys
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Want
from hotdesk.core.steps import LaunchOrder
from hotdesk.providers.local import offers as hardware
from hotdesk.providers.local import paths, records
from hotdesk.providers.local.provider import Local
from hotdesk.providers.local.runtime import clock, environment, jupyter, locks, python_env, relocation
from hotdesk.snapshots.rmtree import remove_tree
from hotdesk.system import is_locked
from tests.local_rig import wait_for

# ---- hardware ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("NVIDIA H100 80GB HBM3, 81559\n", ("H100 80GB HBM3", 1, 79.6)),
        ("Tesla V100-SXM2-16GB, 16384\n" * 4, ("V100-SXM2-16GB", 4, 16.0)),
        ("NVIDIA GeForce RTX 4090, 24564\nNVIDIA GeForce RTX 4090, 24564\n", ("RTX 4090", 2, 24.0)),
        ("NVIDIA A100-SXM4-80GB, 81920\nNVIDIA T4, 15360\n", ("A100-SXM4-80GB", 1, 80.0)),
        ("NVIDIA GB10, [N/A]\n", ("GB10", 1, 0.0)),
        ("No devices were found\n", ("", 0, 0.0)),
        ("", ("", 0, 0.0)),
    ],
)
def test_what_nvidia_smi_says(said: str, understood: tuple[str, int, float]) -> None:
    assert hardware.read_nvidia(said) == understood


@pytest.fixture
def with_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer whose nvidia-smi tells of two A100s."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A100-SXM4-80GB, 81920'\necho 'NVIDIA A100-SXM4-80GB, 81920'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("with_gpu")
@pytest.mark.parametrize(
    ("want", "types"),
    [
        (Want(), ["local.gpu", "local.cpu"]),
        (Want(gpu="A100"), ["local.gpu"]),
        (Want(gpu="a100"), ["local.gpu"]),
        (Want(gpu="NVIDIA A100"), ["local.gpu"]),
        (Want(gpu="A100-80GB"), ["local.gpu"]),
        (Want(gpu="A10"), []),
        (Want(gpu="none"), ["local.cpu"]),
        (Want(gpu_count=2), ["local.gpu"]),
        (Want(gpu_count=3), []),
        (Want(instance_type="local.cpu"), ["local.cpu"]),
        (Want(market="spot"), []),
        (Want(market="on-demand", usd_per_hour_max=0.0), ["local.gpu", "local.cpu"]),
        (Want(regions=("us-west-2",)), []),
        (Want(regions=("local",), zone="here"), ["local.gpu", "local.cpu"]),
        (Want(zone="there"), []),
    ],
)
def test_offers_of_a_computer_with_a_gpu(want: Want, types: list[str]) -> None:
    offers = hardware.offers(want)
    assert [o.instance_type for o in offers] == types
    for offer in offers:
        assert offer.usd_per_hour == 0.0
        if offer.instance_type == "local.gpu":
            assert (offer.gpu, offer.gpu_count, offer.gpu_memory_gib) == ("A100-SXM4-80GB", 2, 80.0)


def test_an_nvidia_smi_that_fails_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed, because no driver is loaded'\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert [o.instance_type for o in hardware.offers(Want())] == ["local.cpu"]


# ---- variables ---------------------------------------------------------------------------------------


def test_what_comes_in_from_outside() -> None:
    outside = {
        "PATH": f"{Path(sys.prefix) / 'bin'}:/opt/tool:relative::/usr/bin",
        "HOME": "/home/owner",
        "LANG": "zh_CN.UTF-8",
        "HTTPS_PROXY": "http://proxy",
        "no_proxy": "localhost",
        "PIP_INDEX_URL": "https://mirror/simple",
        "PIP_TARGET": "/somewhere",
        "UV_INDEX_URL": "https://mirror/simple",
        "SSL_CERT_FILE": "/etc/authorities.pem",
        "AWS_CA_BUNDLE": "/etc/authorities.pem",
        "AWS_ACCESS_KEY_ID": "secret",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "secret",
        "OPENAI_API_KEY": "secret",
        "PYTHONPATH": "/elsewhere",
        "VIRTUAL_ENV": "/home/owner/venv",
        "DISPLAY": ":0",
    }
    inside = environment.of_desk(Path("/s/disks/blue"), "blue", "m:1", outside, gpu=True)
    assert inside["PATH"] == "/s/disks/blue/env/bin:/s/disks/blue/home/.local/bin:/opt/tool:/usr/bin"
    assert inside["LANG"] == "zh_CN.UTF-8"
    for name in (
        "HTTPS_PROXY",
        "no_proxy",
        "PIP_INDEX_URL",
        "UV_INDEX_URL",
        "SSL_CERT_FILE",
        "AWS_CA_BUNDLE",
    ):
        assert inside[name] == outside[name]
    assert "secret" not in inside.values()
    assert not {"PYTHONPATH", "PIP_TARGET", "DISPLAY", "CUDA_VISIBLE_DEVICES"} & set(inside)
    assert inside["HOME"] == "/s/disks/blue/home"
    assert environment.of_desk(Path("/s"), "blue", "m:1", {}, gpu=False)["CUDA_VISIBLE_DEVICES"] == ""


def test_the_documentation_names_what_comes_in_and_what_does_not() -> None:
    text = (Path(__file__).parents[1] / "docs" / "run.md").read_text()
    section = text.split("## Environment variables on a desk")[1].split("\n## ")[0]
    table, _, outside = section.partition("Everything else is withheld:")
    outside = outside.partition("A **cloud desk**")[0]

    def named(part: str) -> set[str]:
        return {name.replace("*", "X") for name in re.findall(r"`([A-Z][A-Z_]+\*?)`", part)}

    def let_in(name: str) -> bool:
        return environment.of_desk(Path("/s"), "blue", "m:1", {name: "kept"}, gpu=True).get(name) == "kept"

    desks_own = {"USER", "SHELL", "PATH"}
    assert {"OPENBLAS_X", "MKL_X", "OMP_X", "CUDA_VISIBLE_DEVICES"} <= named(table)
    assert [name for name in named(table) - desks_own if not let_in(name)] == []
    assert len(named(outside)) >= 5
    assert [name for name in named(outside) if let_in(name)] == []


def test_an_owner_s_mirror_holds_at_the_desk(tmp_path: Path) -> None:
    conf = tmp_path / ".config" / "pip" / "pip.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text("[global]\nindex-url = https://mirror/simple\n")
    inside = environment.of_desk(Path("/s"), "blue", "m:1", {"HOME": str(tmp_path)}, gpu=False)
    assert inside["PIP_CONFIG_FILE"] == str(conf)


def test_a_socket_s_path_is_never_too_long(tmp_path: Path) -> None:
    assert environment.tmux_folder(Path("/s/disks/blue"), "m:abc") == Path("/s/disks/blue/run")
    far = environment.tmux_folder(Path("/" + "x" * 90), "m:abc")
    assert far.name == f"hotdesk-{os.getuid()}-abc"


@pytest.mark.tools("ssh")
def test_a_killed_supervisor_leaves_no_folder_of_sockets_in_tmp(tmp_path: Path) -> None:
    state = tmp_path / ("x" * 90)
    local, folders = Local(state, functools.partial(desk_keys, state)), paths.Folders.of(state)
    offer = next(o for o in local.offers(Want()) if o.instance_type == "local.cpu")
    order = LaunchOrder(desk="blue", born=1.5, generation=1, attempt=0, offer=offer)
    folder = folders.machines / "blue-1"
    folder.mkdir(parents=True)
    mark = records.mark_of(folder)
    machine = records.Machine(id="blue-1", order=order, keys=desk_keys(state, "blue"), mark=mark)
    records.write(folder / "machine.json", machine)
    outside = environment.tmux_folder(folders.disks / "blue", mark)
    outside.mkdir(mode=0o700)
    assert not outside.is_relative_to(tmp_path)
    local.delete("blue-1")
    wait_for(lambda: not folder.exists() and not outside.exists())


# ---- the environment ---------------------------------------------------------------------------------


def run(env: Path, *words: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(
        [env / "bin" / words[0], *words[1:]], capture_output=True, text=True, env=clean, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


def test_an_environment_has_pip_and_a_kernel_of_its_own(tmp_path: Path) -> None:
    env, kit = tmp_path / "a place" / "env", tmp_path / "a place" / "kit"
    env.parent.mkdir()
    assert python_env.make(env, kit) == ""
    assert run(env, "python", "-c", "import sys; print(sys.prefix)").strip() == str(env)
    assert str(kit) in run(env, "pip", "--version")
    assert "yes" in run(env, "python", "-c", "import ipykernel.kernelapp, zmq, tornado; print('yes')")
    # Its owner's things survive a second start, also a whole environment of theirs.
    (env / "mine").touch()
    python_env.make(env, kit)
    assert (env / "mine").exists()


def test_an_unfinished_environment_is_made_anew(tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.mkdir()
    (env / "half").touch()
    (tmp_path / "env.unfinished").touch()
    python_env.make(env, tmp_path / "kit")
    assert not (env / "half").exists()
    assert (env / "bin" / "pip").exists()


def test_an_interpreter_that_moved_is_found_again(tmp_path: Path) -> None:
    env = tmp_path / "env"
    python_env.make(env, tmp_path / "kit")
    for link in env.glob("bin/python*"):
        link.unlink()
        link.symlink_to(tmp_path / "no-longer-there")
    assert python_env.make(env, tmp_path / "kit") == ""
    assert run(env, "python", "-c", "print(1)") == "1\n"


def moved(old: Path, new: Path) -> Path:
    """The disk in its new place, after its next start."""
    old.rename(new)
    relocation.settle(new)
    assert python_env.make(new / "env", new / "kit") == ""
    return new


def made(disk: Path) -> Path:
    """A disk with an environment, after its first start."""
    for name in ("home", "jupyter/data/kernels/mine"):
        (disk / name).mkdir(parents=True)
    relocation.settle(disk)
    python_env.make(disk / "env", disk / "kit")
    return disk


def test_an_environment_that_was_moved_works_where_it_is(tmp_path: Path) -> None:
    disk = made(tmp_path / "old")
    (disk / "jupyter" / "place").unlink()  # of an earlier version, which wrote none
    env = moved(disk, tmp_path / "new") / "env"
    assert str(tmp_path / "new" / "kit") in run(env, "pip", "--version")
    assert "old" not in (env / "bin" / "pip").read_text()


def test_what_was_made_at_a_desk_works_after_its_disk_was_moved(tmp_path: Path) -> None:
    """Environments of projects, an editable install, a tool's links and notes, and a kernel."""
    disk = made(tmp_path / "old")
    home = disk / "home"
    run(disk / "env", "python", "-m", "venv", "--without-pip", str(home / "project" / ".venv"))
    [site] = (home / "project/.venv").glob("lib/python3*/site-packages")
    (home / "project" / "src").mkdir()
    (home / "project" / "src" / "edited.py").write_text("where = __file__\n")
    (site / "edited.pth").write_text(f"{home}/project/src\n")
    tool = home / ".local/share/uv/tools/t"
    run(disk / "env", "python", "-m", "venv", "--without-pip", str(tool))
    (tool / "bin" / "t").write_text(f"#!{tool}/bin/python -E\nimport sys; print(sys.prefix)\n")
    (tool / "bin" / "t").chmod(0o755)
    (tool / "uv-receipt.toml").write_text(f'install-path = "{home}/.local/bin/t"\n')
    (home / ".local/bin").mkdir()
    (home / ".local/bin/t").symlink_to(tool / "bin" / "t")
    (home / "near").symlink_to("project")
    (home / "neighbour").symlink_to(f"{disk}er/data")  # a folder whose name begins with this one's
    (home / "notes.txt").write_text(f"{disk}\n")
    kernel = disk / "jupyter/data/kernels/mine/kernel.json"
    kernel.write_text(json.dumps({"argv": [f"{home}/project/.venv/bin/python"]}))

    disk = moved(disk, tmp_path / "a new place")
    home, new = disk / "home", str(disk)
    said = run(home / "project/.venv", "python", "-c", "import edited; print(edited.where)")
    assert said == f"{home}/project/src/edited.py\n"
    shell = f". '{home}/project/.venv/bin/activate'; echo $VIRTUAL_ENV"
    assert subprocess.run(["sh", "-c", shell], capture_output=True, text=True).stdout.strip() == (
        f"{home}/project/.venv"
    )
    assert run(home / ".local", "t").strip() == f"{home}/.local/share/uv/tools/t"
    assert (home / ".local/share/uv/tools/t/uv-receipt.toml").read_text().startswith(f'install-path = "{new}')
    assert (home / "near").readlink() == Path("project")
    assert (home / "neighbour").readlink() == tmp_path / "older" / "data"
    assert (home / "notes.txt").read_text() == f"{tmp_path}/old\n", "only what environments go by"
    kernel = disk / "jupyter/data/kernels/mine/kernel.json"
    assert json.loads(kernel.read_text())["argv"] == [f"{home}/project/.venv/bin/python"]


def test_a_project_s_environment_finds_the_python_of_another_computer(tmp_path: Path) -> None:
    disk = made(tmp_path / "disk")
    env = disk / "home" / ".venv-of-mine"
    run(disk / "env", "python", "-m", "venv", "--without-pip", str(env))
    for name in ("python", "python3", f"python{sys.version_info.major}.{sys.version_info.minor}"):
        (env / "bin" / name).unlink()
        (env / "bin" / name).symlink_to("/elsewhere/python3")
    (disk / "jupyter" / "place").write_text(f"{disk}\n/elsewhere/python3")
    relocation.settle(disk)
    assert run(env, "python", "-c", "import sys; print(sys.prefix)").strip() == str(env)


def test_an_environment_of_another_python_is_told_and_keeps_pip(tmp_path: Path) -> None:
    env = tmp_path / "env"
    python_env.make(env, tmp_path / "kit")
    cfg = env / "pyvenv.cfg"
    cfg.write_text(
        cfg.read_text().replace(
            f"version = {sys.version_info.major}.{sys.version_info.minor}", "version = 3.8"
        )
    )
    trouble = python_env.make(env, tmp_path / "kit")
    assert "Python 3.8" in trouble
    assert "pip install ipykernel" in trouble
    assert {p.name.split("-")[0] for p in (tmp_path / "kit").iterdir()} == {"pip"}


def test_a_needed_package_that_is_missing_is_named() -> None:
    with pytest.raises(Refused) as refused:
        python_env.closure(["no-such-package-anywhere"])
    assert refused.value.kind is Kind.BAD_REQUEST
    assert refused.value.fix.endswith("-m pip install no-such-package-anywhere")


# ---- locks, records, clock, folders ------------------------------------------------------------------


def test_who_looks_at_a_lock_never_keeps_it_from_a_taker(tmp_path: Path) -> None:
    path, stop = tmp_path / "lock", threading.Event()
    path.touch()

    def look() -> None:
        while not stop.is_set():
            is_locked(path)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(200):
            fd = locks.take(path)
            assert fd is not None
            assert is_locked(path)
            os.close(fd)
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_a_lock_outlives_whoever_handed_it_on(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    fd = locks.take(path)
    assert fd is not None
    code = "import sys; sys.stdin.read()"
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=[fd])
    locks.sign(fd, worker.pid)
    os.close(fd)
    assert is_locked(path)
    assert locks.take(path) is None
    assert locks.worker_pid(path) == worker.pid
    worker.kill()
    worker.communicate()
    assert not is_locked(path)
    assert locks.worker_pid(path) is None, "a name in a free lock is nobody's"


def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert records.read(path, records.Run) is None
    for text in ("", "{", "[]", '{"started_at": "then"}', '{"started_at": 1.0, "unheard": 1}', "\0" * 50):
        path.write_text(text)
        assert records.read(path, records.Run) is None
    records.write(path, records.Run(started_at=2.0))
    assert records.read(path, records.Run) == records.Run(started_at=2.0)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_can_still_be_told(tmp_path: Path) -> None:
    """A record that is there is written over in its place; a new one is refused, and leaves nothing."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare on this computer")
    code = """
import errno, os, sys
from pathlib import Path
from hotdesk.providers.local import records
folder = Path(sys.argv[1])
records.write(folder / "run.json", records.Run(started_at=1.0, phase="ready"))
try:
    with open(folder / "filler", "wb") as file:
        while True:
            file.write(bytes(512)); file.flush()
except OSError as error:
    assert error.errno == errno.ENOSPC, error
records.write(folder / "run.json", records.Run(started_at=2.0, reason="no space is left"))
assert records.read(folder / "run.json", records.Run).reason == "no space is left"
try:
    records.write(folder / "other.json", records.Run(started_at=3.0))
except OSError as error:
    assert error.errno == errno.ENOSPC, error
else:
    raise SystemExit("it was not full")
assert sorted(os.listdir(folder)) == ["filler", "run.json"], os.listdir(folder)
print("told")
"""
    # A small file system in a mount namespace of its own: it is gone with its process.
    line = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", line, "sh", tmp_path, sys.executable, code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        check=False,
    )
    if "told" not in done.stdout and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip("this computer allows no mount namespaces")
    assert done.stdout == "told\n", done.stderr


@given(st.lists(st.floats(0, 4e9), max_size=4))
def test_after_is_later_than_all(moments: list[float]) -> None:
    now = clock.after(*moments)
    assert all(now > moment for moment in moments)
    assert now >= clock.wall() - 60


@given(st.text(max_size=60))
def test_a_plain_name_stays_in_its_folder(name: str) -> None:
    if paths.plain(name):
        assert Path("/a", name).parent == Path("/a")
        assert name not in {".", ".."}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", ".hidden", "a\0b", "x" * 300, "a\n"])
def test_what_is_not_a_plain_name(name: str) -> None:
    assert not paths.plain(name)


def test_a_tree_is_removed_whatever_was_done_to_it(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    deep = tree
    for n in range(60):
        deep = deep / f"level-{n}"
    deep.mkdir(parents=True)
    (tree / "closed" / "inner").mkdir(parents=True)
    (tree / "closed" / "inner" / "file").touch()
    (tree / "closed" / "inner").chmod(0o000)
    (tree / "closed").chmod(0o500)
    (tree / "link").symlink_to(tmp_path)
    os.mkfifo(tree / "fifo")
    remove_tree(tree)
    assert not tree.exists()
    assert tmp_path.exists()
    remove_tree(tree)


# ---- Jupyter -----------------------------------------------------------------------------------------


def test_the_server_s_settings_are_python_and_private(tmp_path: Path) -> None:
    path = tmp_path / 'it\'s a "place"' / "jupyter_config.py"
    path.parent.mkdir()
    before = os.umask(0)
    try:
        jupyter.write_config(
            path, disk=path.parent, port=1234, hashed="argon2:$argon2id$v=19\n", mark="m:1",
            shell="/bin/b'sh", lifeline=5,
        )  # fmt: skip
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    compile(text, str(path), "exec")
    assert "NotebookApp" not in text
    assert "argon2:$argon2id$v=19'" in text


def test_a_worker_s_lock_is_of_the_kind_that_forks_keep(tmp_path: Path) -> None:
    """`flock` belongs to the open file, not to the process: that is what lets it be handed on."""
    fd = locks.take(tmp_path / "lock")
    assert fd is not None
    other = os.dup(fd)
    os.close(fd)
    assert is_locked(tmp_path / "lock")
    fcntl.flock(other, fcntl.LOCK_UN)
    assert not is_locked(tmp_path / "lock")
    os.close(other)


# ---- deleting ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_deleting_a_disk_waits_for_nothing_that_runs_on_it(tmp_path: Path) -> None:
    """A machine whose folder is gone runs on, and hears no SIGTERM: the disk is gone at once all the same."""
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    words = ["hotdesk.providers.local.runtime.supervisor", str(tmp_path), "hotdesk-blue-g1-x"]
    with subprocess.Popen([sys.executable, "-c", deaf, *words], stdout=subprocess.PIPE) as stray:
        try:
            assert stray.stdout
            assert stray.stdout.readline()
            local = Local(tmp_path, lambda desk: pytest.fail("no keys are needed"))
            local.folders.make()
            (local.folders.disks / "blue" / "home").mkdir(parents=True)
            owner = records.Owner(desk="blue", machine=words[-1], generation=1, started_at=1.0)
            records.write(local.folders.disk_record("blue"), owner)
            [disk] = local.survey().disks
            local.delete(disk.id)
            assert stray.poll() is None, "nobody waited for it"
            seen = local.survey()
            assert (seen.disks, seen.leftovers) == ((), ()), "what is being removed is no leftover"
            assert stray.wait(60) == -signal.SIGKILL
            wait_for(lambda: not list(local.folders.trash.iterdir()))
        finally:
            stray.kill()
