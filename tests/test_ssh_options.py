"""What a person's own ssh settings may decide of a connection to a desk, and what they may not.

Real OpenSSH says what it would do (`ssh -G`), and does it at two local desks.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hotdesk.connect import editor, readiness, ssh, ssh_options, tunnel
from hotdesk.connect.ssh_options import Use
from hotdesk.core.errors import Unreachable
from hotdesk.core.model import Instance
from hotdesk.core.ports import Access
from tests.local_rig import LocalRig, one_desk, rig_in, tool, wait_for

pytestmark = [tool("ssh"), one_desk("ssh options"), pytest.mark.slow]

HOSTILE = """\
IgnoreUnknown *
Host *
    AddKeysToAgent yes
    AddressFamily inet6
    BatchMode no
    CanonicalDomains example.com
    CanonicalizeHostname always
    CheckHostIP yes
    ClearAllForwardings no
    ConnectionAttempts 3
    ConnectTimeout 1
    ControlMaster auto
    ControlPath {folder}/%r@%h
    ControlPersist 60
    EscapeChar none
    ExitOnForwardFailure yes
    ForkAfterAuthentication yes
    ForwardAgent yes
    ForwardX11 yes
    GatewayPorts yes
    GlobalKnownHostsFile {folder}/none
    GSSAPIKeyExchange yes
    HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com
    HostKeyAlias elsewhere
    HostName 192.0.2.1
    IdentitiesOnly no
    IdentityFile {folder}/other
    ChannelTimeout session=1
    UseKeychain yes
    KnownHostsCommand /bin/false
    LocalCommand touch {folder}/local-command
    LocalForward {port} localhost:{port}
    DynamicForward {port}
    RemoteForward {port} localhost:{port}
    LogLevel DEBUG
    NoHostAuthenticationForLocalhost yes
    PermitLocalCommand yes
    Port 9
    PreferredAuthentications password
    PubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com
    PubkeyAuthentication no
    RemoteCommand echo hijacked
    RequestTTY force
    SendEnv LANG
    ServerAliveCountMax 9
    ServerAliveInterval 0
    SessionType none
    StdinNull yes
    StrictHostKeyChecking no
    Tunnel yes
    UpdateHostKeys yes
    User somebody
    UserKnownHostsFile /dev/null
    VerifyHostKeyDNS yes
    VisualHostKey yes
"""
#: What also stands in the way of a desk on this computer, and is the way to a rented machine.
WAY = """\
    BindAddress 192.0.2.7
    Compression yes
    ProxyJump bastion.example.com
"""
#: Keywords of ssh_config(5), OpenSSH 10.5 and Debian's patches, that stay the person's; and why they may.
THEIRS = {
    "agents on the way to a rented machine: ssh 10.5 leaves ProxyJump none at `none`": {
        "IdentityAgent",
        "ForwardAgent",
    },
    "the way to a rented machine": {
        "BindAddress",
        "BindInterface",
        "Compression",
        "ProxyCommand",
        "ProxyJump",
        "ProxyUseFdpass",
    },
    "which of their own settings hold; all that matter are pinned": {"Host", "Include", "Match", "Tag"},
    "their policy on cryptography: it can only refuse, and never accepts another host or key": {
        "CASignatureAlgorithms",
        "Ciphers",
        "FingerprintHash",
        "KexAlgorithms",
        "MACs",
        "RefuseConnection",
        "RekeyLimit",
        "RequiredRSASize",
        "RevokedHostKeys",
        "WarnWeakCrypto",
    },
    "without effect where canonicalizing is off": {
        "CanonicalDomains",
        "CanonicalizeFallbackLocal",
        "CanonicalizeMaxDots",
        "CanonicalizePermittedCNAMEs",
    },
    "without effect where the public key is the one way to log in, of the plain kind": {
        "CertificateFile",
        "ChallengeResponseAuthentication",
        "EnableSSHKeysign",
        "GSSAPIAuthentication",
        "GSSAPIClientIdentity",
        "GSSAPIDelegateCredentials",
        "GSSAPIKexAlgorithms",
        "GSSAPIRenewalForcesRekey",
        "GSSAPIServerIdentity",
        "GSSAPITrustDns",
        "HostbasedAcceptedAlgorithms",
        "HostbasedAuthentication",
        "HostbasedKeyTypes",
        "KbdInteractiveAuthentication",
        "KbdInteractiveDevices",
        "NumberOfPasswordPrompts",
        "PasswordAuthentication",
        "PKCS11Provider",
        "SecurityKeyProvider",
    },
    "cleared with all forwardings, or without effect then": {
        "DynamicForward",
        "GatewayPorts",
        "LocalForward",
        "PermitRemoteOpen",
        "RemoteForward",
        "StreamLocalBindMask",
        "StreamLocalBindUnlink",
        "TunnelDevice",
    },
    "without effect where no local command may run, and no known host is written": {
        "LocalCommand",
        "HashKnownHosts",
    },
    "their terminal, and what they let it say": {
        "EnableEscapeCommandline",
        "EscapeChar",
        "ForwardX11",
        "ForwardX11Timeout",
        "ForwardX11Trusted",
        "LogVerbose",
        "ObscureKeystrokeTiming",
        "SendEnv",
        "SetEnv",
        "SyslogFacility",
        "XAuthLocation",
    },
    "how packets travel": {"IPQoS", "TCPKeepAlive", "VersionAddendum"},
    "given as words of every command line": {"Port", "User"},
}
MINE = Access(
    desk="blue", host="203.0.113.5", port=2222, user="me", key_path="/k/a b", known_hosts_path="/k/h",
    alias="hotdesk-blue", notebook_port=8888,
)  # fmt: skip


def asked(config: str, *words: str) -> dict[str, list[str]]:
    """What real ssh makes of a command line, under these settings."""
    done = subprocess.run(
        [words[0], "-G", "-F", config, *words[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        said.setdefault(keyword, []).append(value)
    return said


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    (tmp_path / "config").write_text(HOSTILE.format(folder=tmp_path, port=39999) + WAY)
    return str(tmp_path / "config")


def known() -> set[str]:
    """Keywords that this computer's ssh names itself."""
    return {keyword.lower() for keyword in asked("/dev/null", "ssh", "localhost")}


def test_every_keyword_of_ssh_is_pinned_or_left_to_the_person_with_a_reason() -> None:
    pinned = {k.lower() for use in Use for k in ssh_options.settings(MINE, use)}
    theirs = {keyword.lower() for keywords in THEIRS.values() for keyword in keywords}
    unheard = known() - pinned - theirs
    assert not unheard, "a newer ssh has them: argue each, here or in ssh_options"


@pytest.mark.parametrize("use", [Use.QUESTION, Use.COPY, Use.SESSION, Use.TUNNEL])
@pytest.mark.parametrize("here", [True, False])
def test_settings_of_the_person_change_nothing_that_is_pinned(hostile: str, use: Use, here: bool) -> None:
    access = msgspec.structs.replace(MINE, notebook_here=here)
    words = ssh.ssh(access, use=use)
    plain, theirs = asked("/dev/null", *words), asked(hostile, *words)
    differ = {k for k in plain | theirs if plain.get(k) != theirs.get(k)}
    keys = plain.pop("identityfile"), theirs.pop("identityfile")
    assert keys[1][0] == keys[0][0], "our key comes first"
    may = {"identityfile", "escapechar", "sendenv", "gatewayports", "canonicaldomains", "localcommand"}
    if use is Use.SESSION:
        may |= {"forwardagent", *([] if here else ["forwardx11"])}
    if not here:
        may |= {"proxyjump", "bindaddress", "compression"}
    assert differ <= may, {k: (plain.get(k), theirs.get(k)) for k in differ - may}
    assert ("proxyjump" in differ) is not here, "a rented machine may be behind a jump host, a local one not"


def test_a_printed_line_takes_what_the_person_adds(hostile: str) -> None:
    said = asked(hostile, *ssh.printed(MINE), "-N", "-L", "9000:localhost:9000")
    assert "9000 [localhost]:9000" in said["localforward"]
    assert said.get("sessiontype", ["none"]) == ["none"]
    assert said["hostname"] == ["203.0.113.5"]
    assert said["hostkeyalias"] == ["hotdesk-blue"]


def test_an_unknown_keyword_harms_nobody(hostile: str) -> None:
    """An older ssh lacks some of ours; a newer one may lack some of the person's."""
    words = ssh.ssh(MINE, use=Use.SESSION)
    assert words[1:3] == ["-o", "IgnoreUnknown=*"]
    asked("/dev/null", *words[:3], "-o", "FromTheYear2040=yes", *words[3:])
    Path(hostile).write_text("Host *\n    UseKeychain yes\n")
    asked(hostile, *words)


def test_an_editor_s_host_file_has_only_what_its_ssh_knows(tmp_path: Path) -> None:
    old = tmp_path / "ssh"
    unknown = r"s/SessionType\|KnownHostsCommand\|ForkAfterAuthentication\|StdinNull/FromTheYear2040/"
    old.write_text(f'#!/bin/sh\nsed "{unknown}" | {shutil.which("ssh")} "$@"\n')
    old.chmod(0o755)
    lines = ssh_options.included_lines(MINE, str(old))
    named = {line.split()[0] for line in lines}
    assert {"HostKeyAlias", "IdentityFile", "ControlPath", "RemoteCommand"} <= named
    assert not named & {"SessionType", "KnownHostsCommand", "IgnoreUnknown", "ClearAllForwardings"}
    # Another host's connection reads these lines too.
    (tmp_path / "config").write_text("Host hotdesk-blue\n    " + "\n    ".join(lines) + "\n")
    assert asked(str(tmp_path / "config"), "ssh", "other")["hostname"] == ["other"]


# ---- at two desks ------------------------------------------------------------------------------------


@dataclasses.dataclass
class Desks:
    rig: LocalRig
    blue: Instance
    green: Instance

    def access(self, desk: Instance, *, here: bool = True) -> Access:
        return msgspec.structs.replace(self.rig.provider.access(desk), notebook_here=here)


@pytest.fixture(scope="module")
def desks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desks]:
    with rig_in(tmp_path_factory.mktemp("state")) as rig:
        yield Desks(rig, rig.up("blue"), rig.up("green"))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Taken for the person's own settings by whatever runs ssh: it looks for those in the password file."""
    path, programs = tmp_path / "config", tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {path} "$@"\n')
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    path.touch()
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def output(argv: list[str]) -> str:
    with tempfile.TemporaryFile("w+") as said:  # no pipe: the ssh of a jump host may hold it a while longer
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=said, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
        said.seek(0)
        assert (done.returncode, said.read()) == (0, ""), done
    return done.stdout.strip()


def test_each_command_reaches_its_own_desk_whatever_the_person_has_set(
    desks: Desks, config: Path, tmp_path: Path
) -> None:
    config.write_text(HOSTILE.format(folder=tmp_path, port=free_port()) + WAY)
    for desk in (desks.blue, desks.green):  # one after the other: a shared connection would lead to blue
        access = desks.access(desk)
        assert output(ssh.command(access, ["echo $HOTDESK_DESK"])) == desk.desk
        assert output(ssh.question(access, "echo $HOTDESK_DESK")) == desk.desk
        readiness.prove(access)
        (tmp_path / "file").write_text(desk.desk)
        shell = shlex.join(["ssh", *ssh.options(access), "-p", str(access.port)])
        if shutil.which("rsync"):
            output(["rsync", "-e", shell, str(tmp_path / "file"), f"{access.user}@{access.host}:copied"])
            assert desks.rig.read(desk, "copied") == desk.desk
    given = subprocess.run(
        ssh.command(desks.access(desks.green), ["cat"]),
        input=b"read",
        capture_output=True,
        timeout=60,
    )
    assert given.stdout == b"read"
    assert not (tmp_path / "local-command").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin", "config", "file"], "no socket is shared"


def test_an_editor_reaches_its_desk_by_the_host_file(desks: Desks, config: Path, tmp_path: Path) -> None:
    for desk in (desks.blue, desks.green):
        editor.write_host(desks.access(desk), tmp_path)
    theirs = HOSTILE.format(folder=tmp_path, port=free_port()) + WAY
    config.write_text(f"Include {tmp_path}/ssh/*.conf\n{theirs}")
    for desk in (desks.blue, desks.green):
        said = subprocess.run(
            ["ssh", f"hotdesk-{desk.desk}", "echo $HOTDESK_DESK"], capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert (said.stdout.strip(), said.returncode) == (desk.desk, 0), said.stderr


def test_a_printed_line_is_short_and_reaches_its_desk(desks: Desks, config: Path, tmp_path: Path) -> None:
    """Also with what the person adds, and whatever their settings say of all hosts."""
    config.write_text(HOSTILE.format(folder=tmp_path, port=free_port()) + WAY)
    for desk in (desks.blue, desks.green):
        editor.write_settings(desks.access(desk))
        line = ssh.printed(desks.access(desk))
        assert len(shlex.join(line)) < 300
        said = subprocess.run(
            [*line, "-T", "echo $HOTDESK_DESK"], capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert (said.stdout.strip(), said.returncode) == (desk.desk, 0), said.stderr
    listed = asked("/dev/null", *line, "-N", "-L", "9000:localhost:9000")
    assert "9000 [localhost]:9000" in listed["localforward"]
    assert listed.get("sessiontype", ["none"]) == ["none"]


def test_an_editor_s_host_follows_a_desk_to_another_address(desks: Desks, tmp_path: Path) -> None:
    access = desks.access(desks.blue)
    editor.refresh_host(access, tmp_path)
    assert not (tmp_path / "ssh").exists(), "no editor knows it"
    assert ssh.printed(access)[:2] == ["ssh", "-F"]
    away = msgspec.structs.replace(access, host="203.0.113.9")
    assert "HostName=203.0.113.9" in ssh.printed(away), "a file of another machine is not believed"
    editor.write_host(access, tmp_path)
    editor.refresh_host(msgspec.structs.replace(access, host="203.0.113.9"), tmp_path)
    assert "HostName 203.0.113.9" in (tmp_path / "ssh" / "blue.conf").read_text()


def test_a_jump_host_is_entered_with_the_person_s_agent(
    desks: Desks, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once wrong: newer clients take the agent from the jump host's ssh too, at `IdentityAgent=none`."""
    jump, there = (
        desks.access(desks.blue),
        desks.access(desks.green, here=False),
    )
    config.write_text(
        f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n  HostKeyAlias {jump.alias}\n"
        f"  UserKnownHostsFile {jump.known_hosts_path}\n  IdentityFile none\n"
        "Host 127.0.0.1\n  ProxyJump jump\n"
    )
    agent = output(["ssh-agent", "-s"])
    variables = dict(word.split("=", 1) for word in shlex.split(agent.replace(";", " ")) if "=" in word)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", variables["SSH_AUTH_SOCK"])
        subprocess.run(["ssh-add", "-q", jump.key_path], check=True)
        assert output(ssh.question(there, "echo $HOTDESK_DESK")) == "green"
        assert output(ssh.command(there, ["echo $HOTDESK_DESK"])) == "green"
        monkeypatch.delenv("SSH_AUTH_SOCK")
        alone = subprocess.run(ssh.question(there, "true"), capture_output=True, timeout=60, check=False)
        assert alone.returncode == 255, "it went by the jump host, then"
    finally:
        subprocess.run(["ssh-agent", "-k"], env=os.environ | variables, capture_output=True, check=True)


# ---- the tunnel --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    # Longer than a socket's path may be.
    folder = tmp_path / ("a-long-name-" * 10) / "blue"
    folder.mkdir(parents=True)
    yield folder
    tunnel.close(folder)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_tunnel_forwards_one_port_and_keeps_it(desks: Desks, config: Path, folder: Path) -> None:
    foreign = free_port()
    config.write_text(HOSTILE.format(folder=folder.parent, port=foreign))
    access = desks.access(desks.blue, here=False)
    first = tunnel.notebook_url(access, folder)
    assert tunnel.is_open(folder)
    assert tunnel.notebook_url(access, folder) == first
    assert not listens(foreign), "a forward of the person's own settings"
    tunnel.close(folder)
    assert not tunnel.is_open(folder)
    assert not listens(port_of(first))
    assert tunnel.notebook_url(access, folder) == first, "bookmarks and open tabs go on working"


def test_whatever_listens_on_a_tunnel_s_port_is_not_the_desk(desks: Desks, folder: Path) -> None:
    """Not even another desk's Jupyter, which answers all that can be asked without a token."""
    access, other = (
        desks.access(desks.blue, here=False),
        desks.access(desks.green),
    )
    (folder / "tunnel").write_text(f"{other.notebook_port} {access.host} {access.port}")
    assert not tunnel.is_open(folder)
    assert port_of(tunnel.notebook_url(access, folder)) != other.notebook_port
    # A tunnel of ours that leads to another server there is none either.
    elsewhere = msgspec.structs.replace(access, notebook_port=other.notebook_port)
    with pytest.raises(Unreachable) as refused:
        tunnel.notebook_url(elsewhere, folder)
    assert str(other.notebook_port) in refused.value.why
    assert not tunnel.is_open(folder)


def test_a_tunnel_whose_ssh_was_killed_is_opened_again(desks: Desks, folder: Path) -> None:
    access = desks.access(desks.blue, here=False)
    first = tunnel.notebook_url(access, folder)
    said = tunnel._control(folder, "check").stderr
    os.kill(int(said.partition("pid=")[2].partition(")")[0]), 9)
    wait_for(lambda: not listens(port_of(first)))
    assert not tunnel.is_open(folder)
    assert tunnel.notebook_url(access, folder) == first
    tunnel.forget(folder)
    assert not folder.exists()
