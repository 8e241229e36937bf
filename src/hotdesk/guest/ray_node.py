"""Ray's processes on one machine, kept alive: a node of a sweep's cluster, and its head on one machine.

`ray stop` is never called: it ends every Ray of the user, theirs too. Ours carry a mark in their environment.
With these settings Ray notices a silent machine in half a minute; the sweep's own looks take 15 seconds.

The standard library only, for Python 3.8 and later: it runs at desks.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from typing import Any

from hotdesk.guest.ray_start import Start, free_port
from hotdesk.guest.sweep_processes import processes_of

MARK = "HOTDESK_RAY"  # in the environment of every process of Ray's that we started: the sweep's folder
OBJECT_STORE_BYTES = 80_000_000  # nothing but orders and exit statuses goes through it
_PAUSE_SECONDS = 1.0
_CONNECT_SECONDS = 5.0
_ENDING_SECONDS = 4.0
_LIVED_SECONDS = 120.0  # a node that had started, and lived as long, is no start that failed
#: Ray 2.60. A machine that is silent with open sockets is noticed by both, health checks and keepalive, only.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",  # 15 by default: a busy computer would starve a sweep
    "RAY_memory_monitor_refresh_ms": "0",  # it would end who waits for a command, and not the command
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
    # A node that is slow to start costs less than one that is begun again (45, 5 and 60 s by default).
    "RAY_raylet_start_wait_time_s": "240",
    "RAY_gcs_rpc_server_connect_timeout_s": "60",
    "RAY_worker_register_timeout_seconds": "240",
    "RAY_health_check_initial_delay_ms": "20000",  # a busy computer takes so long to start a node
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_grpc_client_keepalive_time_ms": "5000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    "RAY_agent_register_timeout_ms": "300000",
}


#: Where JupyterLab is installed beside Ray, its schema library builds a grammar when it is imported: 2 of the
#: 2.7 seconds of processor time that each process of a node takes to start. This waits until it is used.
_LATER = """\
import os, sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
_here = os.path.dirname(os.path.abspath(__file__))
_spec = PathFinder.find_spec(__name__, [p for p in sys.path if os.path.abspath(p) != _here])
if _spec is None:
    raise ModuleNotFoundError("No module named " + repr(__name__), name=__name__)
__path__ = _spec.submodule_search_locations
_found = []

def __getattr__(name):
    if not _found:
        _found.append(module_from_spec(_spec))
        sys.modules[__name__] = _found[0]
        _spec.loader.exec_module(_found[0])
    return getattr(_found[0], name)

def is_valid_syntax(term, value):
    return __getattr__("is_valid_syntax")(term, value)
"""


def quick(folder: str, environment: dict[str, str]) -> dict[str, str]:
    """That environment, in which Ray starts sooner."""
    place = os.path.join(folder, "later")
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, "rfc3987_syntax.py"), "w", encoding="utf-8") as file:
        file.write(_LATER)
    path = os.pathsep.join(filter(None, (place, environment.get("PYTHONPATH"))))
    return dict(environment, PYTHONPATH=path)


def settings(folder: str) -> dict[str, str]:
    """What each process of the cluster needs in its environment; the token is in a file."""
    return dict(_SETTINGS, RAY_AUTH_TOKEN_PATH=os.path.join(folder, "token"))


def _ports(first: int) -> list[str]:
    """Every port that a node of Ray 2.60 listens on, from the head's on: 21 for itself, 100 for workers."""
    names = ["node-manager", "object-manager", "runtime-env-agent", "dashboard-agent-listen"]
    names += ["dashboard-agent-grpc", "metrics-export"]
    argv = [f"--{name}-port={first + n}" for n, name in enumerate(names, 1)]
    return [*argv, f"--min-worker-port={first + 21}", f"--max-worker-port={first + 120}"]


def _metric_ports(first: int) -> dict[str, str]:
    """Two more, which no option sets."""
    return {"AUTOSCALER_METRIC_PORT": str(first + 7), "DASHBOARD_METRIC_PORT": str(first + 8)}


class RayNode:
    """`order`: python, address (of this machine), head (its address and port), heads (whether it is here),
    cpus, gpus, memory_bytes; ports, where all of them are to lie from the head's on (0: wherever there is
    one)."""

    def __init__(self, folder: str, order: dict[str, Any], environment: dict[str, str], log: int) -> None:
        self.folder, self.order, self.log = folder, order, log
        self.environment = dict(environment, **settings(folder), **{MARK: folder})
        if order.get("own"):  # its owner's tasks are Ray's to end where memory is short
            del self.environment["RAY_memory_monitor_refresh_ms"]
        if first := order.get("ports"):
            self.environment.update(_metric_ports(first))
        self.stopping = threading.Event()
        self.temps: list[str] = []
        self.failures = 0  # starts that failed, one after another
        self.why = ""  # the last line of the last one
        self.said = -1  # where in the log what the present node says begins; -1: there is none

    def address(self) -> dict[str, str]:
        """What a program of the cluster's owner needs to join it; nothing where there is no Ray."""
        if not self.order.get("python"):
            return {}
        own = ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
        found = {name: value for name, value in settings(self.folder).items() if name in own}
        return {"RAY_ADDRESS": self.order["head"], **found}

    def start(self) -> None:
        self.environment = quick(self.folder, self.environment)
        self._end_all()  # those of a runner that was killed
        self._forget_temps()
        threading.Thread(target=self._keep, daemon=True).start()

    def stop(self) -> None:
        self.stopping.set()
        self._end_all()
        self._forget_temps()

    def _keep(self) -> None:
        """Start it, and start it anew whenever it has ended, in a folder that no cluster has used.

        One that is not up after RAY_raylet_start_wait_time_s ends.
        """
        while not self.stopping.is_set():
            if not self._head_is_up():  # a start costs seconds of a processor, and would fail
                self.stopping.wait(_PAUSE_SECONDS)
                continue
            # Ray puts sockets there: over 107 bytes of path it fails at once, so no longer folder serves.
            temp = tempfile.mkdtemp(prefix="hd-", dir="/tmp")
            self._remember_temp(temp)
            began, said = time.monotonic(), os.fstat(self.log).st_size
            self.said = said
            child = subprocess.Popen(
                self._argv(temp), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                env=self.environment, cwd=temp, start_new_session=True,
            )  # fmt: skip
            start, up, ended = Start(child.pid, quiet=not self._asks_agents()), False, ""
            while child.poll() is None and not self.stopping.wait(0.2):
                up = up or self.ready()
                if not up and not start.go_on():
                    ended = "its raylet has ended"
                    break
            lived = self.ready() and time.monotonic() - began > _LIVED_SECONDS
            self.said = -1
            self._end_all()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_ENDING_SECONDS)
            shutil.rmtree(temp, ignore_errors=True)
            if not self.stopping.is_set():
                self.failures = 0 if lived else self.failures + 1
                self.why = ended or self._last_line(said)
            self.stopping.wait(_PAUSE_SECONDS)

    def ready(self) -> bool:
        """Whether the present node has started, as `ray start` says once it has."""
        if self.said < 0:
            return False
        with contextlib.suppress(OSError), open(f"/proc/self/fd/{self.log}", "rb") as file:
            file.seek(self.said)
            return b"Ray runtime started" in file.read(1 << 16)
        return False

    def _head_is_up(self) -> bool:
        """Whether the head can take this node: its store answers, and its raylet where its port is fixed."""
        host, _, port = self.order["head"].rpartition(":")
        if self.order["heads"]:
            return True
        ports = [int(port), self.order["ports"] + 1] if self.order.get("ports") else [int(port)]
        try:
            for one in ports:
                socket.create_connection((host, one), _CONNECT_SECONDS).close()
        except OSError:
            return False
        return True

    def _last_line(self, offset: int) -> str:
        """Of what was written to the log from there on."""
        with contextlib.suppress(OSError), open(f"/proc/self/fd/{self.log}", "rb") as file:
            file.seek(max(offset, os.fstat(self.log).st_size - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
            return lines[-1].strip()[:300] if lines else ""
        return ""

    def _argv(self, temp: str) -> list[str]:
        order = self.order
        argv = [self._ray(), "start", "--block", "--log-style=record", "--temp-dir=" + temp]
        argv.append("--node-ip-address=" + order["address"])
        if not order.get("own"):
            argv.append(f"--object-store-memory={OBJECT_STORE_BYTES}")
        argv += [f"--num-cpus={order['cpus']}", f"--num-gpus={order['gpus']}"]
        if order.get("memory_total_bytes"):
            argv.append(f"--memory={order['memory_total_bytes']}")
        # Each process less makes a busy computer quicker at starting a node, and saves 100 MB.
        if not order.get("own"):
            argv.append("--include-log-monitor=false")
        if order.get("ports"):
            argv += _ports(order["ports"])
        elif not self._asks_agents():
            argv.append(f"--runtime-env-agent-port={free_port(order['address'])}")
        if not order["heads"]:
            return [*argv, "--address=" + order["head"]]
        port = order["head"].rpartition(":")[2]
        argv += ["--head", "--port=" + port, "--disable-usage-stats"]
        argv.append("--no-monitor")  # it would scale, and nothing here does
        if self._asks_agents():
            return [*argv, "--dashboard-host=127.0.0.1", f"--dashboard-port={order['dashboard_port']}"]
        return [*argv, "--include-dashboard=false"]

    def _ray(self) -> str:
        return os.path.join(os.path.dirname(os.path.expanduser(self.order["python"])), "ray")

    def _asks_agents(self) -> bool:
        """Whether somebody asks this node's agents for anything: its owner's dashboard does."""
        return bool(self.order.get("own")) and has_dashboard(self._ray())

    def _end_all(self) -> None:
        """End all processes with our mark, those that have renamed themselves too."""
        until = time.monotonic() + _ENDING_SECONDS
        number = signal.SIGTERM
        while left := processes_of(self.folder, MARK):
            if time.monotonic() > until:
                number = signal.SIGKILL
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            time.sleep(0.2)

    # ---- its folders, which a runner that was killed has left -----------------------------------------

    def _remember_temp(self, temp: str) -> None:
        self.temps.append(temp)
        with contextlib.suppress(OSError), open(self.folder + "/temps", "a", encoding="utf-8") as file:
            file.write(temp + "\n")

    def _forget_temps(self) -> None:
        with contextlib.suppress(OSError):
            with open(self.folder + "/temps", encoding="utf-8") as file:
                for temp in file.read().split():
                    if temp.startswith("/tmp/hd-"):
                        shutil.rmtree(temp, ignore_errors=True)
            os.remove(self.folder + "/temps")


def has_dashboard(ray: str) -> bool:
    """Whether this `ray` is ray[default]'s: without it, a dashboard would be a process for nothing."""
    packages = os.path.join(os.path.dirname(os.path.dirname(ray)), "lib", "python3*", "site-packages")
    return bool(glob.glob(os.path.join(packages, "aiohttp_cors")))
