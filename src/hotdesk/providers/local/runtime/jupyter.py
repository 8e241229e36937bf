"""Run JupyterLab for one desk: kernels in the desk's environment, the server from hotdesk's installation.

A desk whose environment has a JupyterLab of its own is served by that one, so that server extensions
(jupyterlab-git, jupyterlab-lsp) can be installed at the desk. Both servers get the same settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from hotdesk.guest.jupyter import pinned, theirs
from hotdesk.providers.local.runtime import python_env
from hotdesk.system import write_atomically

MARK_HEADER = "X-Hotdesk-Machine"

# Keys of Jupyter Server 2 and later. (`c.NotebookApp.*` is silently ignored by `jupyter lab`.)
_CONFIG = """\
# Written at each start of the machine.
import os, sys, threading

def _follow(fd):
    # The other end closes when the machine's supervisor ends, however it ends.
    os.read(fd, 1)
    os._exit(75)

threading.Thread(target=_follow, args=({lifeline},), daemon=True).start()

if {plain}:
    from jupyter_core.paths import jupyter_config_dir
    for _kind in ("settings", "workspaces"):
        _place = os.path.join(jupyter_config_dir(), "lab", _kind.replace("settings", "user-settings"))
        os.environ["JUPYTERLAB_" + _kind.upper() + "_DIR"] = _place
    os.environ["JUPYTER_NO_CONFIG"] = "1"

from jupyter_client.kernelspec import KernelSpecManager

class DeskKernels(KernelSpecManager):
    # Those that were installed at the desk: by `ipykernel install --user`, or with a package.
    def _kernel_dirs_default(self):
        return [os.path.join(place, "kernels") for place in {places!r}]

    def get_kernel_spec(self, kernel_name):
        spec = super().get_kernel_spec(kernel_name)
        if spec.argv and spec.argv[0] in ("python", "python3"):  # else the server's own
            spec.argv[0] = {python!r}
        return spec

c = get_config()
c.ServerApp.kernel_spec_manager_class = DeskKernels
c.LabApp.extra_labextensions_path = [os.path.join(place, "labextensions") for place in {places!r}]
c.ServerApp.root_dir = {home!r}
c.ServerApp.quit_button = False
c.ServerApp.terminado_settings = {{"shell_command": [{shell!r}]}}
c.MultiKernelManager.default_kernel_name = "python3"
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
{theirs}{pinned}
c.ServerApp.allow_root = True
c.ServerApp.cookie_secret_file = {cookie!r}
_settings = c.ServerApp.get("tornado_settings", {{}})
_settings = dict(_settings) if isinstance(_settings, dict) else {{}}
_settings["headers"] = {{**_settings.get("headers", {{}}), {header!r}: {mark!r}}}
c.ServerApp.tornado_settings = _settings
c.PasswordIdentityProvider.password_required = True
c.KernelSpecManager.ensure_native_kernel = False
c.LabApp.extension_manager = "readonly"
"""

# What JupyterLab 4.6 does at its start and nobody sees, a third of the processor time that it took:
# rfc3987_syntax, a check of the schema library, builds a grammar at import (disabled, as if it were not
# installed). Node, if installed, is asked for its build settings (not asked). And jupyter_lsp looks for
# language servers, among them npm's: put off until a page asks which there are.
# The empty entry of sys.path is the working folder: a random.py in the home must not shadow Python's own.
_MAIN = """\
import asyncio, sys
sys.path[:1] = filter(None, sys.path[:1])
sys.modules["rfc3987_syntax"] = None
from jupyterlab import commands
commands._yarn_config = lambda logger: {"yarn config": {}, "npm config": {}}

def put_off(lsp):
    look = lsp.initialize

    async def initialize(app, *args):
        manager, looking = app.language_server_manager, []
        ready = manager.ready

        async def found():
            if not looking:
                looking.append(asyncio.ensure_future(look(app, *args)))
            return await ready()

        manager.ready = found

    lsp.initialize = initialize

try:
    from jupyter_lsp import serverextension
    put_off(serverextension)
except (ImportError, AttributeError):
    pass
from jupyterlab.labapp import main
sys.exit(main())
"""


def write_kernel(disk: Path, desk: str) -> None:
    """Write the default kernel: the desk's own Python."""
    python = str(disk / "env" / "bin" / "python")
    spec = {
        "argv": [
            python,
            "-Xfrozen_modules=off",
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
        ],
        "display_name": f"Python 3 ({desk})",
        "language": "python",
        "metadata": {"debugger": True},
    }
    _write(disk / "jupyter" / "data" / "kernels" / "python3" / "kernel.json", spec)


def silence_news(disk: Path) -> None:
    """Disable JupyterLab's announcements: no question at the first sign-in, nothing fetched."""
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    _write(disk / "jupyter" / "config" / "labconfig" / "page_config.json", quiet)


def _write(path: Path, settings: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(settings))


def write_config(
    path: Path,
    *,
    disk: Path,
    port: int,
    hashed: str,
    mark: str,
    shell: str,
    lifeline: int,
    plain: bool = False,
) -> None:
    """Write the server's settings, readable by their owner only: they hold the password's hash.

    `plain` ignores the settings in the owner's home, so that a setting that prevents Jupyter from starting
    does not make the desk unusable.
    """
    data, env = disk / "jupyter" / "data", disk / "env"
    text = _CONFIG.format(
        lifeline=lifeline,
        places=[str(data), str(env / "share" / "jupyter")],
        python=str(env / "bin" / "python"),
        home=str(disk / "home"),
        cookie=str(disk / "jupyter" / "cookie_secret"),  # part of images, so that a login survives a park
        shell=shell,
        header=MARK_HEADER,
        mark=mark,
        plain=plain,
        theirs=theirs("jupyter_config", "jupyter_server_config", "jupyter_lab_config"),
        pinned=pinned(port, hashed.strip()),
    )
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)


def own(disk: Path) -> str:
    """The version of the desk's own JupyterLab if it takes these settings (4 or later), else ""."""
    version = python_env.installed(disk / "env", "jupyterlab")
    first = version.partition(".")[0]
    return version if first.isdigit() and int(first) >= 4 else ""


async def start(
    config: Path,
    environment: Mapping[str, str],
    home: Path,
    log: int,
    lifeline: int,
    *,
    python: str = sys.executable,
) -> asyncio.subprocess.Process:
    """Start that Python's JupyterLab; it answers some seconds later."""
    return await asyncio.create_subprocess_exec(
        python,
        "-c",
        _MAIN,
        f"--config={config}",
        cwd=home,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        pass_fds=(lifeline,),
    )


async def answers(port: int, mark: str, seconds: float = 2.0) -> bool:
    """Whether this machine's Jupyter, and no other server, answers on that port."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                reply = await reader.read(65536)
                while more := await reader.read(65536):
                    reply += more
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, EOFError):
        return False
    head, _, _ = reply.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    return " 200 " in f"{lines[0]} " and f"{MARK_HEADER}: {mark}".lower() in (x.lower() for x in lines)
