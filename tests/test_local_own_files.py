"""A person's own start files at a local desk: its Python stays first, and what lets nothing run is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hotdesk.connect import job_runner
from hotdesk.connect.readiness import prove
from hotdesk.core import shell
from hotdesk.core.errors import Kind, Refused
from hotdesk.core.model import Instance
from tests.local_rig import LocalRig, rig_in, tool, wait_for

pytestmark = tool("ssh")
#: What Debian gives a new account, in short, and what people write into theirs.
OWN_FILES = {
    "debian": {
        ".profile": 'if [ -n "$BASH_VERSION" ]; then . "$HOME/.bashrc"; fi\nexport MINE=kept\n',
        ".bashrc": "case $- in *i*) ;; *) return ;; esac\nPS1='$ '\n",
    },
    "path": {".profile": "export PATH=/usr/bin:/bin MINE=kept\n", ".bashrc": "PATH=/usr/bin:$PATH\n"},
    "bash_profile": {".bash_profile": "export PATH=/bin MINE=kept; . ~/.bashrc\n", ".bashrc": "echo hello\n"},
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRig]:
    with rig_in(tmp_path_factory.mktemp("state")) as rig:
        yield rig


@pytest.fixture(scope="module")
def desk(rig: LocalRig) -> Instance:
    return rig.up("blue")


@pytest.fixture
def home(rig: LocalRig, desk: Instance) -> Iterator[Path]:
    """The home; its start files are afterwards what they were."""
    home, before = rig.disk("blue") / "home", rig.disk("blue") / "before"
    shutil.copytree(home, before, symlinks=True)
    yield home
    for name in (".profile", ".bashrc", ".bash_profile", ".bash_login"):
        (home / name).unlink(missing_ok=True)
        if (before / name).exists():
            shutil.copyfile(before / name, home / name)
    shutil.rmtree(before)


def job(rig: LocalRig, desk: Instance, id_: str, line: str) -> str:
    """What a job says that is one line of shell."""
    access = rig.provider.access(desk)
    order = {"id": id_, "attempt": 1, "command": [line], "resume_command": [], "before": shell.before(line)}
    done = job_runner.ask(access, "begin", given=json.dumps(order).encode())
    assert done.returncode == 0, done
    wait_for(lambda: all(j.phase == "ended" for j in job_runner.look(access).jobs if j.id == id_))
    return (rig.disk("blue") / "home/.hotdesk/jobs" / id_ / "log").read_text()


@pytest.mark.parametrize("kind", OWN_FILES)
def test_commands_and_jobs_find_the_desk_s_python(
    kind: str, rig: LocalRig, desk: Instance, home: Path
) -> None:
    for name, text in OWN_FILES[kind].items():
        (home / name).write_text(text)
    env = rig.disk("blue") / "env"
    line = "command -v python; command -v pip; python -c 'import sys; print(sys.prefix)'; echo $MINE"
    expected = [str(env / "bin/python"), str(env / "bin/pip"), str(env), "kept"]
    assert rig.ssh(desk, shell.told(line)).stdout.split() == expected
    assert job(rig, desk, f"j{kind}", line).split()[-4:] == expected
    # Another client than hotdesk: no start file is read, and nothing has to be put back.
    assert rig.ssh(desk, line).stdout.split() == expected[:3]
    prove(rig.provider.access(desk))


def test_an_environment_that_the_person_s_own_files_activate_stays_in_front(
    rig: LocalRig, desk: Instance, home: Path
) -> None:
    rig.ssh(desk, "python -m venv --without-pip mine")
    (home / ".profile").write_text(". ~/mine/bin/activate\n")
    said = rig.ssh(desk, shell.told("command -v python pip")).stdout.split()
    assert said == [str(home / "mine/bin/python"), str(rig.disk("blue") / "env/bin/pip")]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".bashrc", "exec zsh\n"),
        (".bashrc", "exit\n"),
        (".profile", "exec cat\n"),
        (".bash_profile", ". ~/.profile; exec sh\n"),
    ],
)
def test_a_file_that_lets_no_command_through_is_named_and_a_rescue_goes_without_it(
    file: str, text: str, rig: LocalRig, desk: Instance, home: Path
) -> None:
    """1. every command ends well and does nothing; 2. "up" says which file; 3. a rescue mends it."""
    (home / file).write_text(text)
    if file == ".bashrc":
        (home / ".profile").write_text(". ~/.bashrc\n")
    assert rig.ssh(desk, shell.told("false"), check=False).returncode == 0
    access = rig.provider.access(desk)
    with pytest.raises(Refused) as refused:
        prove(access)
    assert refused.value.kind is Kind.BAD_REQUEST, "to wait would change nothing"
    assert f"~/{file} there ends or replaces it" in refused.value.message
    prove(access, rescue=True)
    up, _, mend = refused.value.fix.partition(" && ")
    assert up == "hotdesk up blue --rescue"
    line = mend.removeprefix("hotdesk ssh blue --rescue -- ").strip("'")
    assert rig.ssh(desk, shell.rescued(f"command -v python; {line}")).stdout.endswith("env/bin/python\n")
    assert (home / f"{file}.aside").read_text() == text
    prove(access)


def test_a_file_that_never_ends_is_said_too(
    rig: LocalRig, desk: Instance, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hotdesk.connect import readiness

    (home / ".profile").write_text("sleep 60\n")
    with monkeypatch.context() as patch:
        patch.setattr(readiness, "_LOGIN_SECONDS", 10.0)
        with pytest.raises(Refused, match="takes more than 10 s to begin") as refused:
            prove(rig.provider.access(desk))
    assert refused.value.kind is Kind.BAD_REQUEST
    prove(rig.provider.access(desk), rescue=True)


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (False, "does not answer on port"),
        (True, "Its last words: two / three / no module named jupyterlab"),
    ],
)
def test_what_breaks_a_rented_desk_s_jupyter_is_said_and_a_rescue_does_not_wait_for_it(
    failed: bool, words: str, rig: LocalRig, desk: Instance, home: Path
) -> None:
    """A local desk's ssh server, asked as a rented one's; systemd's two commands are stand-ins."""
    programs = {
        "systemctl": f'[ "$*" = "is-failed -q hotdesk-jupyter" ] && exit {int(not failed)}; exit 2',
        "sudo": "exit 1",
        "journalctl": "printf '%s\\n' one '' two three 'no module named jupyterlab'",
    }
    (home / ".local/bin").mkdir(parents=True, exist_ok=True)
    for name, text in programs.items():
        (home / ".local/bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (home / ".local/bin" / name).chmod(0o755)
    access = replace(rig.provider.access(desk), supervised=False, notebook_here=False, notebook_port=1)
    wanted = Kind.BAD_REQUEST if failed else Kind.NOT_READY
    for _ in range(10):  # on a busy computer the second question may go unanswered: it is asked again
        with pytest.raises(Refused) as refused:
            prove(access)
        if refused.value.kind is wanted:
            break
    assert refused.value.kind is wanted
    assert words in refused.value.message
    assert not failed or refused.value.fix == (
        "hotdesk up blue --rescue && hotdesk ssh blue   "
        "# mend it there, then: sudo systemctl restart hotdesk-jupyter"
    )
    (home / ".bashrc").write_text("exec sleep 60\n")
    prove(access, rescue=True)
    with pytest.raises(Refused, match="no login at the desk yet"):
        prove(replace(access, port=1), rescue=True)
    shutil.rmtree(home / ".local/bin")


def test_what_an_earlier_version_laid_out_is_renewed_unless_somebody_changed_it(rig: LocalRig) -> None:
    from hotdesk.providers.local.runtime import environment

    desk = rig.up("old")
    rig.stop(desk)
    home = rig.disk("old") / "home"
    (home / ".bashrc").write_text(environment._EARLIER[".bashrc"])
    (home / ".profile").write_text(environment._EARLIER[".profile"] + "export MINE=kept\n")
    (home / ".venv").unlink()
    desk = rig.start(desk)
    assert (home / ".bashrc").read_text() == environment._FIRST_FILES[".bashrc"]
    said = rig.ssh(desk, shell.told("command -v python; echo $MINE; readlink ~/.venv")).stdout.split()
    assert said == [str(rig.disk("old") / "env/bin/python"), "kept", "../env"]
    rig.provider.delete(desk.id)
