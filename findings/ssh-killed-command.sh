#!/usr/bin/env bash
# OpenSSH client 9.2p1 (Debian 12, openssh-client 1:9.2p1-2+deb12u10), asyncssh 2.24.1, paramiko 5.1.0
#
# What: when a remote command is killed by a signal the server says so ("exit-signal", RFC 4254, with the
#   signal's name and a message). OpenSSH's own client drops it: it prints nothing and exits with 255, its
#   status for a connection that failed. paramiko says -1, as it does when the server said nothing at all;
#   asyncssh has the signal. Nobody says 137, as a shell does.
# Why it matters: a training run that the kernel kills for want of memory looks exactly like a bad line.
#   What retries on 255 starts it again, to be killed again.
# Expected: 137 (128 + 9), or a line on standard error.
# Seen (the server: "KILL, out of memory"):
#   OpenSSH: exit status 255, printed ''
#   paramiko: -1
#   asyncssh: -9, ('KILL', False, 'out of memory', 'en-US')
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq openssh-client=1:9.2p1-2+deb12u10 2>apt.log || { cat apt.log; exit 2; }
dpkg -x openssh-client_*.deb root
python3 -m venv venv
venv/bin/pip install -qq asyncssh==2.24.1 paramiko==5.1.0
env -u SSH_AUTH_SOCK venv/bin/python - <<'PY'
import asyncio
import sys
from pathlib import Path

import asyncssh
import paramiko


def killed(process):
    process.exit_with_signal("KILL", False, "out of memory")


def by_paramiko(port):
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect("127.0.0.1", port, "u", key_filename="key", look_for_keys=False, allow_agent=False)
    _, output, _ = client.exec_command("train", timeout=20)
    status = output.channel.recv_exit_status()
    client.close()
    return status


async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key("key")
    key.write_public_key("key.pub")
    Path("key").chmod(0o600)
    server = await asyncssh.create_server(
        asyncssh.SSHServer,
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys="key.pub",
        process_factory=killed,
    )
    port = server.sockets[0].getsockname()[1]
    options = "StrictHostKeyChecking=no UserKnownHostsFile=known BatchMode=yes IdentitiesOnly=yes".split()
    words = [word for option in options for word in ("-o", option)]
    # The first connection notes the host's key, and says so; the second one's output is looked at.
    for _ in range(2):
        ssh = await asyncio.create_subprocess_exec(
            "root/usr/bin/ssh", "-F", "none", "-i", "key", "-p", str(port), *words, "u@127.0.0.1", "train",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await ssh.communicate()
    print(f"OpenSSH: exit status {ssh.returncode}, printed {printed.decode().strip()!r}")
    status = await asyncio.to_thread(by_paramiko, port)
    print(f"paramiko: {status}")
    async with asyncssh.connect(
        "127.0.0.1", port, username="u", client_keys=["key"], known_hosts=None, config=None
    ) as connection:
        result = await connection.run("train")
    print(f"asyncssh: {result.returncode}, {result.exit_signal}")
    server.close()
    return (ssh.returncode, printed, status, result.returncode) == (255, b"", -1, -9)


sys.exit(not asyncio.run(asyncio.wait_for(main(), 60)))
PY
