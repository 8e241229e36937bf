"""A local desk under stock OpenSSH: what was a bug once stays mended."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotdesk.core.model import Instance
from tests.local_rig import LocalRig, marked, needs, one_desk, rig_in, ssh_options, tool, wait_for

pytestmark = [tool("ssh"), one_desk("local ssh")]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRig]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_INDEX_URL", "https://packages.invalid/simple")
        patch.setenv("https_proxy", "http://proxy.invalid:3128")
        patch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/authorities.pem")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-let-this-in")
        patch.setenv("GITHUB_TOKEN", "nor-this")
        with rig_in(tmp_path_factory.mktemp("state")) as rig:
            yield rig


@pytest.fixture(scope="module")
def desk(rig: LocalRig) -> Instance:
    return rig.up("blue")


class Terminal:
    """An ssh client in a terminal of its own, as a person has it."""

    def __init__(self, rig: LocalRig, desk: Instance, *words: str) -> None:
        access = rig.provider.access(desk)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            argv = [
                "ssh",
                *ssh_options(access),
                "-tt",
                "-p",
                str(access.port),
                f"{access.user}@127.0.0.1",
                *words,
            ]
            os.execvp("ssh", argv)
        self.seen = b""
        self.resize(90, 30)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str, seconds: float = 30.0) -> str:
        deadline = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    assert text.encode() in self.seen, self.seen
        before, _, self.seen = self.seen.partition(text.encode())
        return before.decode(errors="replace")

    def end(self) -> int:
        """Read on until the client ends; its exit status."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.seen += os.read(self.fd, 65536)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(self.seen)


# ---- commands ----------------------------------------------------------------------------------------


def test_a_command_s_output_errors_and_status_come_back(rig: LocalRig, desk: Instance) -> None:
    done = rig.ssh(desk, "echo out; echo err >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_output_is_whole_however_fast_the_command_ends(rig: LocalRig, desk: Instance) -> None:
    # Once cut short: the child was waited for before its pipes were empty.
    for _ in range(3):
        done = rig.ssh(desk, "head -c 3000000 /dev/zero | tr '\\0' x; exit 3", check=False)
        assert (len(done.stdout), done.returncode) == (3_000_000, 3)


def test_the_end_of_input_reaches_the_command(rig: LocalRig, desk: Instance) -> None:
    text = "".join(f"line {n}\n" for n in range(200_000))
    assert (
        rig.ssh(desk, "sha256sum", text=text).stdout.split()[0] == hashlib.sha256(text.encode()).hexdigest()
    )


def test_a_script_on_standard_input_is_run(rig: LocalRig, desk: Instance) -> None:
    done = rig.ssh(desk, text="echo from a script\nexit 4\n", check=False)
    assert (done.stdout, done.returncode) == ("from a script\n", 4)


def test_a_command_that_stops_reading_does_not_hang(rig: LocalRig, desk: Instance) -> None:
    assert rig.ssh(desk, "head -c 3", text="abc" * 1_000_000).stdout == "abc"


def test_a_command_ends_when_its_reader_has_gone(rig: LocalRig, desk: Instance) -> None:
    """Once it hung: the client throws away what comes, and the server waited for it to be wanted."""
    access = rig.provider.access(desk)
    argv = ["ssh", *ssh_options(access), "-p", str(access.port), f"{access.user}@127.0.0.1", "yes; exit 3"]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as client:
        assert client.stdout is not None
        assert client.stdout.read(4) == b"y\ny\n"
        client.stdout.close()
        assert client.wait(60) == 3, "the shell goes on after the broken pipe, as at home"
    wait_for(lambda: not any("yes" in words for words in commands(rig, desk)))


def test_a_signal_does_not_look_like_a_lost_connection(rig: LocalRig, desk: Instance) -> None:
    assert rig.ssh(desk, "kill -9 $$", check=False).returncode == 137
    assert rig.ssh(desk, "sh -c 'kill -TERM $$'", check=False).returncode == 143


def test_a_client_that_stops_listening_leaves_no_trouble(rig: LocalRig, desk: Instance) -> None:
    # Once a BrokenPipeError of a closed channel, in the server.
    access = rig.provider.access(desk)
    argv = ["ssh", *ssh_options(access), "-p", str(access.port), f"{access.user}@127.0.0.1"]
    for words in (["yes"], ["-tt", "yes"], ["cat /dev/zero | tee /dev/stderr"]):
        flags = [w for w in words if w.startswith("-")]
        with subprocess.Popen(
            [*argv[:1], *flags, *argv[1:], words[-1]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as client:
            assert client.stdout is not None
            assert len(client.stdout.read(200_000)) == 200_000
            client.kill()
    wait_for(lambda: not any(set(w) & {"yes", "/dev/zero"} for w in commands(rig, desk)))
    log = (rig.folder(desk) / "supervisor.log").read_text()
    assert "Traceback" not in log, log
    assert "exception" not in log.lower(), log


def test_a_command_killed_by_a_signal_is_a_failure(rig: LocalRig, desk: Instance) -> None:
    assert rig.ssh(desk, "kill -9 $$", check=False).returncode != 0


def test_an_unknown_command_says_so(rig: LocalRig, desk: Instance) -> None:
    done = rig.ssh(desk, "no-such-command", check=False)
    assert done.returncode == 127
    assert "no-such-command" in done.stderr


def test_many_sessions_at_once(rig: LocalRig, desk: Instance) -> None:
    access = rig.provider.access(desk)
    argv = ["ssh", *ssh_options(access), "-p", str(access.port), f"{access.user}@127.0.0.1"]
    running = [
        subprocess.Popen([*argv, f"sleep 0.3; echo {n}"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        for n in range(8)
    ]
    assert [p.communicate(timeout=60)[0].decode().strip() for p in running] == [str(n) for n in range(8)]


# ---- what a desk's processes find --------------------------------------------------------------------


def test_home_path_and_folders_are_the_desk_s_own(rig: LocalRig, desk: Instance) -> None:
    disk = rig.disk("blue")
    said = rig.ssh(
        desk, "pwd; echo $HOME; which python pip; echo $TMPDIR; echo $HOTDESK_ENV; echo $XDG_CACHE_HOME"
    )
    assert said.stdout.split("\n")[:-1] == [
        str(disk / "home"),
        str(disk / "home"),
        str(disk / "env/bin/python"),
        str(disk / "env/bin/pip"),
        str(disk / "tmp"),
        str(disk / "env"),
        str(disk / "home/.cache"),
    ]
    said = rig.ssh(desk, "python -c 'import sys, tempfile; print(sys.prefix, tempfile.gettempdir())'")
    assert said.stdout.split() == [str(disk / "env"), str(disk / "tmp")]


def test_networks_settings_reach_the_desk_and_secrets_do_not(rig: LocalRig, desk: Instance) -> None:
    said = rig.ssh(desk, "env").stdout
    assert "PIP_INDEX_URL=https://packages.invalid/simple" in said
    assert "https_proxy=http://proxy.invalid:3128" in said
    assert "REQUESTS_CA_BUNDLE=/nowhere/authorities.pem" in said
    assert "do-not-let-this-in" not in said
    assert "nor-this" not in said
    assert "PYTHONPATH" not in said
    assert "CUDA_VISIBLE_DEVICES=\n" in said, "a desk without a GPU sees none"


def test_no_secret_is_on_a_command_line_or_readable_by_others(rig: LocalRig, desk: Instance) -> None:
    desks = rig.state / "desks" / "blue"
    secrets = [
        (desks / "notebook-password").read_text().strip(),
        (desks / "notebook-password.argon2").read_text().strip(),
    ]
    for pid in [*marked(rig.mark(desk)), rig.supervisor_pid(desk)]:
        for file in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                shown = Path(f"/proc/{pid}/{file}").read_bytes().decode(errors="replace")
                assert not [s for s in secrets if s in shown]
    for file in (rig.state / "local").rglob("*"):
        if file.is_file() and not file.is_symlink() and "disks" not in file.parts:
            assert file.stat().st_mode & 0o077 == 0, file
    for folder in (rig.state / "local", desks, rig.disk("blue")):
        assert folder.stat().st_mode & 0o077 == 0, folder


def test_nothing_listens_beyond_the_loopback(rig: LocalRig, desk: Instance) -> None:
    pids = {rig.supervisor_pid(desk), *marked(rig.mark(desk))}
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(str(link.readlink()))
    found = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                found += 1
                assert words[1].split(":")[0] in {"0100007F", "00000000000000000000000001000000"}, line
    assert found >= 2, "ssh and Jupyter"


def test_only_the_desk_s_own_key_opens_the_door(rig: LocalRig, desk: Instance, tmp_path: Path) -> None:
    access = rig.provider.access(desk)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    options = [tmp_path / "other" if o == access.key_path else o for o in ssh_options(access)]
    argv = ["ssh", *options, "-v", "-p", str(access.port), f"{access.user}@127.0.0.1", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr, "no password, no keyboard-interactive"


# ---- terminals ---------------------------------------------------------------------------------------


def test_a_terminal_has_a_prompt_a_size_and_job_control(rig: LocalRig, desk: Instance) -> None:
    with_terminal = Terminal(rig, desk)
    with_terminal.until("blue")
    with_terminal.type("stty size; echo $TERM; tty\n")
    with_terminal.until("30 90")
    with_terminal.until("xterm")
    with_terminal.resize(101, 41)
    with_terminal.type("stty size\n")
    with_terminal.until("41 101")
    with_terminal.type("sleep 100 & jobs; fg\n")
    with_terminal.until("Running")
    assert "no job control" not in with_terminal.seen.decode()
    with_terminal.type("\x03")
    with_terminal.until("blue")  # the prompt: the shell throws away what is typed before it has heard
    with_terminal.type("echo st$((0+1))ill here; exit 5\n")
    with_terminal.until("st1ill here")
    assert with_terminal.end() == 5


def test_control_c_interrupts_although_the_caller_ignored_it(tmp_path: Path) -> None:
    """A shell's `&` starts its children with SIGINT ignored, and children inherit that.

    This desk lies in a folder with a long name and a space, and its owner shares files with a group.
    """
    mask = os.umask(0o002)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with rig_in(tmp_path / ("a long name " * 8)) as rig:
            desk = rig.up("green")
            signal.signal(signal.SIGINT, before)
            assert rig.ssh(desk, "umask").stdout == "0002\n"
            folder = Path(rig.ssh(desk, "echo $TMUX_TMPDIR").stdout.strip())
            assert not folder.is_relative_to(rig.disk("green"))
            if needs("tmux"):
                rig.ssh(desk, "tmux new -d -s job 'sleep 6001'; tmux ls")
            assert rig.ssh(desk, "pip --version && python -m ipykernel --version").returncode == 0
            terminal = Terminal(rig, desk, "sleep 60; echo slept")
            wait_for(lambda: any(words[:2] == ["sleep", "60"] for words in commands(rig, desk)))
            terminal.type("\x03")
            assert terminal.end() != 0
            assert b"slept" not in terminal.seen
            rig.stop(desk)
            assert not folder.exists()
    finally:
        os.umask(mask)
        signal.signal(signal.SIGINT, before)


def commands(rig: LocalRig, desk: Instance) -> list[list[str]]:
    found = []
    for pid in marked(rig.mark(desk)):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0"))
    return found


def test_the_last_words_of_a_terminal_are_heard(rig: LocalRig, desk: Instance) -> None:
    terminal = Terminal(rig, desk, "seq 1 20000; exit 9")
    terminal.until("\r\n20000\r\n")
    assert terminal.end() == 9


def test_the_end_of_input_is_control_d_in_a_terminal(rig: LocalRig, desk: Instance) -> None:
    done = rig.ssh(desk, "cat; echo whole", flags=["-tt"], text="one line\n")
    assert "one line" in done.stdout
    assert "whole" in done.stdout


@pytest.mark.parametrize("term", ["xterm", ""])
def test_a_background_job_does_not_hold_the_terminal(
    rig: LocalRig, desk: Instance, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    """Nor that of a client which does not know what it is: cron has no TERM."""
    monkeypatch.setenv("TERM", term)
    began = time.monotonic()
    done = rig.ssh(desk, "trap '' HUP; sleep 43 & echo started", flags=["-tt"])
    assert "started" in done.stdout
    assert time.monotonic() - began < 40
    rig.ssh(desk, "pkill -f '^sleep 43$'", check=False)


def test_a_lost_connection_hangs_up(rig: LocalRig, desk: Instance) -> None:
    access = rig.provider.access(desk)
    for terminal in ([], ["-tt"]):
        argv = ["ssh", *ssh_options(access), *terminal, "-p", str(access.port), f"{access.user}@127.0.0.1"]
        with subprocess.Popen(
            [*argv, "sleep 4711 | cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as client:
            wait_for(lambda: any("4711" in words for words in commands(rig, desk)))
            client.kill()
        wait_for(lambda: not any("4711" in words for words in commands(rig, desk)))


def test_a_job_that_ignores_the_hang_up_goes_on(rig: LocalRig, desk: Instance) -> None:
    script = "nohup sh -c 'sleep 1; echo done > went-on' > /dev/null 2>&1 & echo $!"
    rig.ssh(desk, script)
    wait_for(lambda: rig.read(desk, "went-on") == "done\n")


@tool("tmux")
def test_tmux_survives_a_killed_client(rig: LocalRig, desk: Instance) -> None:
    terminal = Terminal(rig, desk, "tmux new -A -s main")
    terminal.until("blue")
    terminal.type("cd /; export HERE=still; echo re$((1))ady\n")
    terminal.until("re1ady")
    os.kill(terminal.pid, signal.SIGKILL)
    os.waitpid(terminal.pid, 0)
    os.close(terminal.fd)
    terminal = Terminal(rig, desk, "tmux new -A -s main")
    terminal.until("re1ady")
    terminal.type("echo $HERE in $PWD; which python\n")
    terminal.until("still in /")
    terminal.until("env/bin/python")
    terminal.type("tmux kill-server\n")
    terminal.end()


# ---- files -------------------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "inner" / "empty").mkdir(parents=True)
    (tree / "big").write_bytes(os.urandom(2_000_000))
    (tree / "inner" / "a name with spaces").write_text("x")
    (tree / "inner" / "ümläut").write_text("y")
    return tree


@tool("scp")
@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp", "old protocol"])
def test_scp_both_ways_and_its_status(
    rig: LocalRig, desk: Instance, tree: Path, tmp_path: Path, protocol: list[str]
) -> None:
    # Once 1 although all was copied: OpenSSH 9 wants an exit status from the sftp subsystem.
    access = rig.provider.access(desk)
    name = f"scp-{len(protocol)}"
    argv = ["scp", *protocol, "-q", "-r", *ssh_options(access), "-P", str(access.port)]
    subprocess.run([*argv, tree, f"{access.user}@127.0.0.1:{name}"], check=True, timeout=60)
    assert files(Path(access.home) / name) == files(tree), "a relative path begins at the desk's home"
    subprocess.run([*argv, f"{access.user}@127.0.0.1:{name}", tmp_path / "back"], check=True, timeout=60)
    assert files(tmp_path / "back") == files(tree)
    failed = subprocess.run(
        [*argv, f"{access.user}@127.0.0.1:no-such-file", tmp_path / "x"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert failed.returncode == 1
    assert "No such file" in failed.stderr


@tool("sftp")
def test_sftp_begins_at_home(rig: LocalRig, desk: Instance, tree: Path, tmp_path: Path) -> None:
    access = rig.provider.access(desk)
    batch = f"pwd\nput {tree / 'big'} by-sftp\nrename by-sftp renamed\nget renamed {tmp_path / 'got'}\nls\n"
    argv = ["sftp", *ssh_options(access), "-b", "-", "-P", str(access.port), f"{access.user}@127.0.0.1"]
    done = subprocess.run(argv, input=batch, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    assert f"Remote working directory: {access.home}" in done.stdout
    assert (tmp_path / "got").read_bytes() == (tree / "big").read_bytes()


@tool("rsync")
def test_rsync_both_ways(rig: LocalRig, desk: Instance, tree: Path, tmp_path: Path) -> None:
    access = rig.provider.access(desk)
    shell = " ".join(["ssh", *ssh_options(access), "-p", str(access.port)])
    there = f"{access.user}@127.0.0.1:synced/"
    subprocess.run(["rsync", "-a", "-e", shell, f"{tree}/", there], check=True, timeout=60)
    assert files(Path(access.home) / "synced") == files(tree)
    (tree / "big").write_bytes(b"small now")
    subprocess.run(["rsync", "-a", "--delete", "-e", shell, f"{tree}/", there], check=True, timeout=60)
    subprocess.run(["rsync", "-a", "-e", shell, there, f"{tmp_path}/back/"], check=True, timeout=60)
    assert files(tmp_path / "back") == files(tree)


# ---- forwarding --------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def forwarding(rig: LocalRig, desk: Instance, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    access = rig.provider.access(desk)
    argv = ["ssh", *ssh_options(access), "-N", "-o", "ExitOnForwardFailure=yes", *flags]
    with subprocess.Popen(
        [*argv, "-p", str(access.port), f"{access.user}@127.0.0.1"], stderr=subprocess.PIPE
    ) as client:
        try:
            yield client
        finally:
            client.kill()


def test_a_tunnel_to_the_notebook(rig: LocalRig, desk: Instance) -> None:
    access, port = rig.provider.access(desk), free_port()
    with forwarding(rig, desk, "-L", f"{port}:localhost:{access.notebook_port}"):

        def answer() -> bytes:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api") as reply,
            ):
                return bytes(reply.read())
            return b""

        assert b"version" in wait_for(answer)  # type: ignore[operator]


def test_a_tunnel_leads_nowhere_but_to_the_loopback(rig: LocalRig, desk: Instance) -> None:
    access = rig.provider.access(desk)
    argv = [
        "ssh",
        *[word for word in ssh_options(access) if word != "LogLevel=ERROR"],
        *("LogLevel=INFO", "-W", "192.0.2.1:80", "-p", str(access.port)),
        f"{access.user}@127.0.0.1",
    ]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode != 0
    assert "prohibited" in done.stderr


def test_a_port_offered_at_the_desk_is_on_its_loopback_only(rig: LocalRig, desk: Instance) -> None:
    port = free_port()

    def reached() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
        return False

    with socket.create_server(("127.0.0.1", 0)) as here:
        here.settimeout(10)
        offered = f"{port}:127.0.0.1:{here.getsockname()[1]}"
        with forwarding(rig, desk, "-R", offered):
            wait_for(reached)
            here.accept()[0].close()
    with forwarding(rig, desk, "-R", f"0.0.0.0:{free_port()}:127.0.0.1:9") as client:
        assert client.wait(30) != 0, "a port for everybody is refused"
