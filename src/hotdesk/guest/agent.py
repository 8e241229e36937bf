#!/usr/bin/env python3
"""The agent on a rented machine: one file, the standard library only, run by systemd as root.

agent.py run        watch for an interruption, and act on its notice; each is written down
agent.py ready      exit 0 when cloud-init has finished and Jupyter answers; else say what is missing
agent.py report     everything that hotdesk asks of a desk, as one line of JSON
agent.py manifest   write down what the user's files are, and what was used last; done at every shutdown
agent.py compare    what has changed since the manifest was written; done when a desk is resumed
agent.py warm       read what was used last: a disk from a snapshot fetches each block at its first use

On a notice: everybody at a terminal or in Jupyter is told, running jobs are asked for a checkpoint, and
~/.hotdesk/hooks/interrupted (or on-interruption) is run, as its owner, with HOTDESK_ACTION (terminate, stop,
hibernate or rebalance) and HOTDESK_AT, for as long as there is time; ~/.hotdesk/hooks/parking at a shutdown.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import pwd
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

RUN = os.environ.get("HOTDESK_RUN", "/run/hotdesk")
LIB = os.environ.get("HOTDESK_LIB", "/var/lib/hotdesk")
CLOUD = os.environ.get("HOTDESK_CLOUD", "/run/cloud-init")
PCI = os.environ.get("HOTDESK_PCI", "/sys/bus/pci/devices")
IMDS = os.environ.get("HOTDESK_IMDS", "http://169.254.169.254")
TOKEN = os.environ.get("HOTDESK_TOKEN", "X-aws-ec2-metadata-token")  # its headers
NOTICE = os.environ.get("HOTDESK_NOTICE", "spot/instance-action")  # where it says that the machine is taken
TAKER = os.environ.get("HOTDESK_TAKER", "AWS")  # … and by whom
ENDS = float(os.environ.get("HOTDESK_ENDS", "0"))  # when it ends this machine in any case; 0: not known
JUPYTER = os.environ.get("HOTDESK_JUPYTER", "http://127.0.0.1:8888/api")
TERMINALS = os.environ.get("HOTDESK_TERMINALS", "/dev/pts/[0-9]*")
POLL_SECONDS = float(os.environ.get("HOTDESK_POLL_SECONDS", "5"))
MANIFEST_SECONDS = 30.0  # a shutdown must not wait longer for it
PARK_SECONDS = 40.0  # for hooks/parking: systemd gives this service a minute
HOOK_SECONDS = 90.0  # of the two minutes; the rest is for flushing to the disk
END_SECONDS = 600.0  # before a known end, jobs are asked for a checkpoint and everybody is told
EVENTS = 50  # events to keep
FILES_MAX = 2_000_000
WARM_FILES, WARM_BYTES, WARM_SECONDS = 50_000, 16 << 30, 15.0
WARM_READERS = 8  # first reads are bound by the network, not by the processor
#: Folders of programs that are not read at every boot anyway; homes come first.
PROGRAMS = ("/opt", "/usr/local")
#: Paths that programs write in the background, ignored in the manifest.
IDLE_WRITES = (
    "/.cache/",
    "/.local/share/jupyter/",
    "/.jupyter/lab/",
    "/.ipython/profile_default/",
    "/.local/share/Trash/",
    "/.ssh/authorized_keys",  # cloud-init rewrites it for every new instance
    "/THIS-DESK-STOPS-AT-",
    "-THIS-MACHINE.",
)


class Metadata:
    """The instance metadata service, version 2: every request carries a token."""

    def __init__(self, url: str = IMDS) -> None:
        self.url = url
        self._token = ""

    def get(self, path: str) -> str | None:
        """The answer, or None for a 404. Raises OSError if the service does not answer."""
        for _ in range(2):
            if not self._token:
                self._token = self._ask("PUT", "/latest/api/token", {f"{TOKEN}-ttl-seconds": "21600"}) or ""
            try:
                return self._ask("GET", f"/latest/meta-data/{path}", {TOKEN: self._token})
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 401:
                    raise
                self._token = ""  # it has expired
        return None

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=2) as answer:
            text: str = answer.read().decode("utf-8", "replace")
            return text


def missing() -> list[str]:
    """What the desk still lacks; empty if it is ready."""
    lacks = []
    ends = ("result.json", "disabled")  # the first is written at the end of each boot's last stage
    if os.path.isdir(CLOUD) and not any(os.path.exists(f"{CLOUD}/{end}") for end in ends):
        lacks.append("cloud-init has not finished")
    try:
        with urllib.request.urlopen(JUPYTER, timeout=2):
            pass
    except urllib.error.HTTPError:
        pass  # it answers, even if it wants a login
    except OSError:
        lacks.append("Jupyter does not answer yet")
    return lacks


# ---- what was on the desk ----------------------------------------------------------------------------


def homes() -> list[str]:
    """The home folders of the machine's users."""
    if told := os.environ.get("HOTDESK_HOMES"):
        return told.split(os.pathsep)
    return sorted({p.pw_dir for p in pwd.getpwall() if 1000 <= p.pw_uid < 60000 and os.path.isdir(p.pw_dir)})


def manifest(folders: list[str], limit_seconds: float = MANIFEST_SECONDS) -> dict[str, Any]:
    """Per folder below each home: number of files, bytes, and a digest of names, sizes and times.

    Contents are not read, to be quick at a shutdown. `whole` is false if the time ran out.
    """
    until, whole, parts = time.monotonic() + limit_seconds, True, {}
    for home in folders:
        for name in sorted(os.listdir(home)):
            top = os.path.join(home, name)
            if any(idle in top for idle in IDLE_WRITES):
                continue
            count, size, digest = 0, 0, hashlib.sha256()
            for path, stat in sorted(_files(top, until)):
                if any(idle in path for idle in IDLE_WRITES):
                    continue
                count, size = count + 1, size + stat.st_size
                digest.update(
                    f"{os.path.relpath(path, home)}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(
                        "utf-8", "surrogateescape"
                    )
                )
            parts[top] = {"files": count, "bytes": size, "digest": digest.hexdigest()[:16]}
        whole = whole and time.monotonic() < until
    return {"whole": whole, "parts": parts}


def _files(top: str, until: float) -> Any:
    if os.path.islink(top) or not os.path.isdir(top):
        with contextlib.suppress(OSError):
            yield top, os.lstat(top)
        return
    seen = 0
    for folder, _, names in os.walk(top):
        for name in names:
            seen += 1
            if seen > FILES_MAX or time.monotonic() > until:
                return
            with contextlib.suppress(OSError):
                path = os.path.join(folder, name)
                yield path, os.lstat(path)


def compare(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Compare two manifests: folders that are missing, changed or new."""
    old, new = before.get("parts", {}), now.get("parts", {})
    return {
        "same": old == new,
        "whole": bool(before.get("whole")) and bool(now.get("whole")),
        "missing": sorted(set(old) - set(new)),
        "changed": sorted(path for path in set(old) & set(new) if old[path] != new[path]),
        "new": sorted(set(new) - set(old)),
    }


def _boot() -> str:
    return os.environ.get("HOTDESK_BOOT") or _text("/proc/sys/kernel/random/boot_id")


def began() -> None:
    """Record this boot, and whether the previous one ended with a clean shutdown.

    A stop that skips the shutdown (SkipOsShutdown, Force), or a failed host, leaves no such record.
    """
    boot, last = _boot(), _read(f"{LIB}/boot.json") or {}
    if last.get("boot") != boot:
        clean = not last or _read(f"{LIB}/clean.json") == last["boot"]
        _write(f"{LIB}/boot.json", {"boot": boot, "clean": clean})


def _write(path: str, value: Any) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as file:
        json.dump(value, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def _read(path: str) -> Any:
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4000).strip()
    except OSError:
        return ""


# ---- reading files ahead -----------------------------------------------------------------------------


def used(folders: list[str], now: float, limit_seconds: float = WARM_SECONDS) -> list[str]:
    """Files that were read or written since yesterday (or the last boot), latest first.

    By their own times: with `relatime`, the mount option of every cloud image, the access time is updated at
    the first read after a write, and once a day.
    """
    until, found = time.monotonic() + limit_seconds, []
    with contextlib.suppress(OSError, ValueError):
        now = min(now, time.time() - float(_text("/proc/uptime").split()[0]) + 86400)
    for top in folders:
        for path, stat in _files(top, until):
            if stat.st_size and (stat.st_mode & 0o170000) == 0o100000 and "\n" not in path:
                at = max(stat.st_atime, stat.st_mtime)
                if at > now - 86400:
                    found.append((at, stat.st_size, path))
    kept, size = [], 0
    for _, bytes_, path in sorted(found, reverse=True)[:WARM_FILES]:
        size += bytes_
        if size > WARM_BYTES:
            break
        kept.append(path)
    return kept


def warm(paths: list[str]) -> None:
    """Read these files once; progress is in warm.json of the run folder."""
    from concurrent.futures import ThreadPoolExecutor

    began, told = time.monotonic(), 0.0
    state = {"files": 0, "of_files": len(paths), "bytes": 0, "seconds": 0.0, "done": False}

    def read(path: str) -> int:
        size = 0
        with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                size += len(chunk)
        return size

    with ThreadPoolExecutor(WARM_READERS) as pool:
        for size in pool.map(read, paths):
            state["files"] += 1
            state["bytes"] += size
            state["seconds"] = round(time.monotonic() - began, 1)
            if time.monotonic() - told > 1.0:
                told = time.monotonic()
                _write(f"{RUN}/warm.json", state)
    _write(f"{RUN}/warm.json", {**state, "done": True})


# ---- the GPU -----------------------------------------------------------------------------------------


def driver() -> dict[str, Any]:
    """NVIDIA devices on the bus, whether their driver works, and its error if not."""
    found = 0
    for device in glob.glob(f"{PCI}/*"):
        found += _text(f"{device}/vendor") == "0x10de" and _text(f"{device}/class").startswith("0x03")
    if not found:
        return {"devices": 0, "works": False, "said": ""}
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return {"devices": found, "works": False, "said": "no NVIDIA driver is installed"}
    except subprocess.TimeoutExpired:
        return {"devices": found, "works": False, "said": "nvidia-smi gives no answer"}
    lines = (done.stdout + done.stderr).strip().splitlines()
    works = done.returncode == 0 and len(lines) >= found
    said = lines[0].strip() if lines else f"nvidia-smi ended with {done.returncode}"
    if done.returncode == 0 and not works:
        said = f"the driver (version {said}) knows {len(lines)} of {found} devices"
    return {"devices": found, "works": works, "said": said[:300]}


def install() -> dict[str, Any] | None:
    """Progress or result of driver.py at this boot; None if it has not run."""
    told: dict[str, Any] | None = _read(f"{RUN}/driver.json")
    if told and told["state"] in {"looking", "installing"}:
        told["seconds"] = round(time.monotonic() - told["since"], 1)
        if "driver.py" not in _text(f"/proc/{told['pid']}/cmdline"):
            told.update(state="failed", why=f"it was cut off while {told['step']}", again=True)
    return told


def report() -> dict[str, Any]:
    """Everything that hotdesk asks of a desk."""
    return {
        "missing": missing(),
        "failed": _text(f"{LIB}/failed"),
        "lacking": _text(f"{LIB}/lacking"),
        "compared": _read(f"{RUN}/compared.json"),
        "unclean": (_read(f"{LIB}/boot.json") or {}).get("clean") is False,
        "driver": driver(),
        "install": install(),
        "warm": _read(f"{RUN}/warm.json"),
        "events": _read(f"{LIB}/events.json") or [],
    }


# ---- watching ----------------------------------------------------------------------------------------


def notice(metadata: Metadata) -> dict[str, Any] | None:
    """The interruption notice for a spot instance, minutes ahead; None without one. It may be only a time."""
    told = metadata.get(NOTICE)
    if told and told[0] != "{":
        return {"action": "stop", "time": told}
    return json.loads(told) if told else None


def recommendation(metadata: Metadata) -> dict[str, Any] | None:
    """AWS's rebalance recommendation, earlier and less certain than a notice; None without one."""
    told = metadata.get("events/recommendations/rebalance")
    return {"action": "rebalance", "time": json.loads(told).get("noticeTime", "")} if told else None


def known_end() -> dict[str, Any] | None:
    """A notice of an end that was known since the launch, when it is near; None else.

    It may have been put off since: hotdesk says so with the desk's limits.
    """
    at = max([ENDS, *(_put_off(home) for home in homes())]) if ENDS else 0.0
    if not at or time.time() < at - END_SECONDS:
        return None
    return {"action": "end", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))}


def _put_off(home: str) -> float:
    """When the machine ends by what its owner's hotdesk said last; 0 where it said nothing."""
    told = f"{home}/.hotdesk/leave"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, OverflowError):
        at = os.stat(told).st_mtime + float(_read(told)["ends_seconds"])
        return at if at < 1e10 else 0.0
    return 0.0


def _as_owner(home: str, words: list[str], **more: str) -> list[str]:
    """The command line that runs `words` as the owner of a home."""
    env = ["env", f"HOME={home}", *(f"{key}={value}" for key, value in more.items())]
    if os.geteuid() != 0:
        return [*env, *words]
    return ["runuser", "-u", pwd.getpwuid(os.stat(home).st_uid).pw_name, "--", *env, *words]


def ask_for_checkpoints() -> None:
    """Ask every running job, and every task of a sweep, for a checkpoint, through its user's runners."""
    for path in [
        f"{glob.escape(home)}/.hotdesk/{kind}-*.py" for home in homes() for kind in ("runner", "sweep")
    ]:
        for runner in sorted(glob.glob(path), key=os.path.getmtime)[-1:]:  # the newest knows all of its kind
            home = runner.partition("/.hotdesk/")[0]
            with contextlib.suppress(OSError, KeyError, subprocess.TimeoutExpired):
                subprocess.run(_as_owner(home, ["python3", runner, "notice"]), check=False, timeout=10)


def tell(text: str, name: str) -> list[str]:
    """Write a line to every terminal, and a file that Jupyter's file list shows; return these files."""
    for path in glob.glob(TERMINALS):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                os.write(fd, f"\r\n\ahotdesk: {text}\r\n".encode())
            finally:
                os.close(fd)
    made = []
    for home in homes():
        with contextlib.suppress(OSError):
            path = f"{home}/{name}.txt"
            with open(path, "x") as file:
                file.write(text + "\n")
            made.append(path)
    return made


def run_hooks(names: str, action: str, at: str, seconds: float) -> list[str]:
    """Run these files below ~/.hotdesk of every user; return how each ended. Their output is in hooks/log."""
    said, until = [], time.monotonic() + seconds
    for hook in [f"{home}/.hotdesk/{name}" for home in homes() for name in names.split()]:
        if not os.access(hook, os.X_OK):
            continue
        home, began = hook.partition("/.hotdesk/")[0], time.monotonic()
        try:
            line = ["sh", "-c", 'mkdir -p .hotdesk/hooks; exec "$0" >>.hotdesk/hooks/log 2>&1', hook]
            words = _as_owner(home, line, HOTDESK_ACTION=action, HOTDESK_AT=at)
            with subprocess.Popen(words, cwd=home, stdin=subprocess.DEVNULL, start_new_session=True) as child:
                try:
                    ended = f"ended with {child.wait(max(1.0, until - began))}"
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                    ended = "was ended, for the time was over,"
            said.append(f"{hook} {ended} after {time.monotonic() - began:.1f} s")
        except (OSError, KeyError) as error:
            said.append(f"{hook} could not be run: {error}")
    return said


def write_down(id_: str, what: str) -> None:
    """Record an event, replacing an earlier one with the same id."""
    events = [e for e in _read(f"{LIB}/events.json") or [] if e["id"] != id_]
    _write(f"{LIB}/events.json", [*events, {"id": id_, "at": time.time(), "what": what}][-EVENTS:])


def heed(told: dict[str, Any]) -> None:
    """Act on a notice: quick actions first, hooks last, as they may take all the time that is left."""
    action, at = str(told.get("action", "")), str(told.get("time", ""))
    if action == "rebalance":
        what = f"AWS may soon want this spot machine back (rebalance recommendation of {at})."
        name = "AWS-MAY-TAKE-THIS-MACHINE"
    elif action == "end":
        what = f"{TAKER} ends this machine at {at}: the time that is reserved for it is over."
        name = f"{TAKER}-ENDS-THIS-MACHINE"
    else:
        what = f"{TAKER} takes this spot machine back at {at} ({action})."
        name = f"{TAKER}-TAKES-THIS-MACHINE"
    write_down(f"{action}-{at}", what)
    tell(f"{what} Its disk stays, and is saved; jobs are asked for a checkpoint.", name)
    ask_for_checkpoints()
    os.sync()
    hooks = run_hooks("hooks/interrupted on-interruption", action, at, HOOK_SECONDS)
    if hooks:
        os.sync()
    done = "; ".join(["Jobs were asked for a checkpoint, and files are on the disk", *hooks])
    write_down(f"{action}-{at}-done", f"{done}.")


def stopping() -> bool:
    """Whether the whole machine stops, not this service alone."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        ask = ["systemctl", "is-system-running"]
        done = subprocess.run(ask, capture_output=True, timeout=5, check=False)
        return b"stopping" in done.stdout
    return False


def run() -> None:
    """Poll for notices until SIGTERM."""
    with contextlib.suppress(OSError):
        began()
        _write(f"{LIB}/clean.json", "")  # until it ends well
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    for home in homes():
        for note in glob.glob(f"{glob.escape(home)}/*-*-THIS-MACHINE.txt"):  # from another machine
            with contextlib.suppress(OSError):
                os.unlink(note)
    metadata, heeded = Metadata(), set()
    seconds = 0.0  # until it is known whether this is a spot instance: only those are interrupted

    def new(told: dict[str, Any] | None) -> None:
        if told and (key := json.dumps(told, sort_keys=True)) not in heeded:
            heeded.add(key)
            heed(told)

    while not stop:
        new(known_end())
        with contextlib.suppress(OSError, ValueError):
            if not seconds:
                spot = metadata.get("instance-life-cycle") != "on-demand"
                seconds = POLL_SECONDS if spot else 60.0
            new(notice(metadata))
            new(recommendation(metadata))
        until = time.monotonic() + (seconds or POLL_SECONDS)
        while not stop and time.monotonic() < until:
            time.sleep(min(1.0, POLL_SECONDS))
    if stopping():
        for said in run_hooks("hooks/parking", "", "", PARK_SECONDS):
            write_down(f"parking-{time.time():.0f}", said)


def main(words: list[str]) -> int:
    if words == ["run"]:
        run()
    elif words == ["ready"]:
        lacks = missing()
        print(json.dumps({"ready": not lacks, "missing": lacks, "compared": _read(f"{RUN}/compared.json")}))
        return 1 if lacks else 0
    elif words == ["report"]:
        print(json.dumps(report()))
    elif words == ["manifest"]:
        _write(f"{LIB}/manifest.json", manifest(homes()))
        _write(f"{LIB}/used.json", used([*homes(), *PROGRAMS], time.time()))
        os.sync()
        _write(f"{LIB}/clean.json", _boot())
    elif words == ["compare"]:
        began()
        before = _read(f"{LIB}/manifest.json")
        print(json.dumps(compare(before, manifest(homes())) if before else {"same": None}))
    elif words == ["warm"]:
        warm(_read(f"{LIB}/used.json") or [])
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
