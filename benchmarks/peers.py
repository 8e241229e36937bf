"""hotdesk beside the tools that people compare it with: what they install, what a command costs, and
which calls to EC2 they make. Parts of `python -m benchmarks`.

The calls are counted by the fake EC2, at the pace of EC2, with machines that can be logged into at port
22.
"""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fake_ec2.checks import DEEP
from fake_ec2.process import FakeEc2

ROOT = Path(__file__).resolve().parents[1]
SKYPILOT, DSTACK, GPUHUNT = "skypilot[aws]==0.14.1", "dstack[aws]==0.22.5", "gpuhunt==0.1.34"
RAY = "ray[default]==2.60.0 boto3==1.44.5"
REGION = "us-east-1"
OFFERS = ["hotdesk", "offers", "--gpu", "L4"]
RAY_CLUSTER = ROOT / "tests" / "clients" / "ray.yaml"
#: What is installed, and the commands whose processor time is measured.
PEERS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "hotdesk": (
        "{wheel}",
        {
            "--version": ["hotdesk", "--version"],
            "--help": ["hotdesk", "--help"],
            "ls": ["hotdesk", "ls"],
            "offers": OFFERS,
        },
    ),
    "hotdesk[local,aws]": ("{wheel}[local,aws]", {"ls": ["hotdesk", "ls"], "offers": OFFERS}),
    "SkyPilot": (
        SKYPILOT,
        {"--version": ["sky", "--version"], "--help": ["sky", "--help"]},
    ),
    "dstack": (DSTACK, {"--version": ["dstack", "--version"], "--help": ["dstack", "--help"]}),
    "Ray's launcher": (RAY, {"--version": ["ray", "--version"], "--help": ["ray", "--help"]}),
    "gpuhunt (a library)": (GPUHUNT, {}),
}


def _said(argv: list[str], **more: Any) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, **more).stdout.strip()


# ---- what is installed ---------------------------------------------------------------------------


def home(name: str) -> str:
    """The folder of a peer, among the environments."""
    return re.sub(r"\W+", "-", name.split(maxsplit=1)[0]).strip("-")


def installed(folder: Path) -> dict[str, dict[str, Any]]:
    """What each takes, in an empty environment of its own."""
    return _installed(folder, {name: what for name, (what, _) in PEERS.items()})


def page_installed(folder: Path, other: str) -> dict[str, dict[str, Any]]:
    """The same for hotdesk with its page, and for what another page is made with."""
    return _installed(folder, {"hotdesk[web]": "{wheel}[web]", "nicegui": other})


def _installed(folder: Path, whats: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    measured = folder / "installed.json"
    known = json.loads(measured.read_text()) if measured.exists() else {}
    wheel = _wheel(folder)
    for name, what in whats.items():
        place = folder / home(name)
        if name in known and (place / "bin" / "python").exists() and not name.startswith("hotdesk"):
            print(f"{name}: is there", flush=True)
            continue
        venv.create(place, with_pip=True, clear=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        bare = _bytes(place)
        began = time.perf_counter()
        subprocess.run(
            [*pip, "install", "-q", "--no-cache-dir", *what.format(wheel=wheel).split()], check=True
        )
        seconds = time.perf_counter() - began
        packages = json.loads(_said([*pip, "list", "--format", "json"]))
        known[name] = {
            "what": what.format(wheel="hotdesk"),
            "seconds": round(seconds, 1),
            "mb": round((_bytes(place) - bare) / 1e6, 1),
            "packages": len([p for p in packages if p["name"] not in {"pip", "setuptools"}]),
        }
        print(f"{name}: {known[name]}", flush=True)
        measured.write_text(json.dumps(known))
    return known


def _wheel(folder: Path) -> Path:
    for old in folder.glob("hotdesk-*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True, cwd=folder)
    (made,) = folder.glob("hotdesk-*.whl")
    return made


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


# ---- what a command costs ------------------------------------------------------------------------


def commands(folder: Path, scratch: Path, runs: int) -> dict[str, dict[str, list[float]]]:
    """Processor seconds (user and system) of each command, all in turn, the first round not counted."""
    nobodys = scratch / "home"
    nobodys.mkdir()
    taken: dict[str, dict[str, list[float]]] = {}
    for number in range(runs + 1):
        for name, (_, its) in PEERS.items():
            for what, (program, *words) in its.items():
                argv = [str(folder / home(name) / "bin" / program), *words]
                seconds = _processor(lambda argv=argv: _run_at(nobodys, argv))  # type: ignore[misc]
                if number:
                    taken.setdefault(what, {}).setdefault(name, []).append(round(seconds, 3))
    for what, by_name in taken.items():
        print(
            f"{what}: " + ", ".join(f"{n} {statistics.median(s):.2f} s" for n, s in by_name.items()),
            flush=True,
        )
    return taken


def _run_at(folder: Path, argv: list[str]) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_", "PYTHON"))}
    environment |= {"HOME": str(folder), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "HOTDESK_OFFLINE": "1"}
    subprocess.run(argv, env=environment, cwd=folder, check=True, capture_output=True)


def _processor(do: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    do()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ---- which calls to EC2 --------------------------------------------------------------------------


def days(folder: Path, scratch: Path) -> dict[str, dict[str, list[float]]]:
    """By tool and step: calls and processor seconds."""
    return {
        "hotdesk": _hotdesk_day(folder, scratch),
        "SkyPilot": _skypilot_day(folder, scratch),
        "Ray's launcher": _ray_day(folder, scratch),
    }


@contextmanager
def _cloud(at: Path) -> Iterator[tuple[FakeEc2, dict[str, str]]]:
    """The fake EC2 at its real pace, with machines at port 22; and the environment of who uses it."""
    at.mkdir()
    (at / ".aws").mkdir()
    (at / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIAFAKEFAKEFAKEFAKE\naws_secret_access_key = fake\n"
    )
    os.environ["HOTDESK_LIGHT_PORT"] = "22"
    with FakeEc2(rig="tests.light:machines", pace=1.0) as fake:
        regions = fake.post("regions")
        fake.post("regions", disable=[region for region in regions if region != REGION])
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_", "PYTHON"))}
        more = {"AWS_ENDPOINT_URL": fake.url, "AWS_DEFAULT_REGION": REGION, "HOME": str(at)}
        yield fake, {**kept, **more, "AWS_EC2_METADATA_DISABLED": "true"}


def _hotdesk_day(folder: Path, scratch: Path) -> dict[str, list[float]]:
    """`launch` ends when ssh and Jupyter have answered."""
    at = scratch / "hotdesk"
    with _cloud(at) as (fake, environment):
        (at / "hotdesk.toml").write_text(
            f'[defaults]\nprovider = "aws"\nregions = ["{REGION}"]\n[aws]\naddress = "127.0.0.1/32"\n'
        )
        environment |= {"HOTDESK_CONFIG": str(at / "hotdesk.toml")}
        program = str(folder / home("hotdesk[local,aws]") / "bin" / "hotdesk")
        day = {
            "launch": ["up", "blue", "--type", "t3.medium", "--market", "on-demand"],
            "status": ["ls"],
            "stop": ["stop", "blue", "--yes"],
            "start": ["start", "blue"],
            "down": ["down", "blue", "--yes"],
        }
        return {step: _step(fake, step, [program, *words], environment, at) for step, words in day.items()}


def _ray_day(folder: Path, scratch: Path) -> dict[str, list[float]]:
    """`launch` ends with the login: nothing is installed on the machine, and no Ray started there."""
    at = scratch / "ray"
    with _cloud(at) as (fake, environment):
        environment |= {"RAY_USAGE_STATS_ENABLED": "0", "TMPDIR": str(at)}
        program = str(folder / home("Ray's launcher") / "bin" / "ray")
        keeps, forgets = (at / f"{word}.yaml" for word in ("keeps", "forgets"))
        for file in (keeps, forgets):
            file.write_text(
                RAY_CLUSTER.read_text().format(
                    region=REGION,
                    image=fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"],
                    kept="true" if file is keeps else "false",
                )
            )
        day = {
            "launch": ["up", "-y", str(keeps)],
            "stop": ["down", "-y", str(keeps)],
            "start": ["up", "-y", str(keeps)],
            "down": ["down", "-y", str(forgets)],
        }
        return {step: _step(fake, step, [program, *words], environment, at) for step, words in day.items()}


def _step(fake: FakeEc2, step: str, argv: list[str], environment: dict[str, str], at: Path) -> list[float]:
    """Calls, processor seconds and seconds of a command, which must succeed."""
    before, began = len(fake.get("log")), time.perf_counter()

    def act() -> None:
        done = subprocess.run(argv, env=environment, cwd=at, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(argv)}: {done.stdout}{done.stderr}")

    used = _processor(act)
    took = [len(fake.get("log")) - before, round(used, 2), round(time.perf_counter() - began, 1)]
    print(f"{Path(argv[0]).name} {step}: {took}", flush=True)
    return took


def _skypilot_day(folder: Path, scratch: Path) -> dict[str, list[float]]:
    """`launch` ends with the login, before its runtime is installed."""
    at, place = scratch / "skypilot", folder / home("SkyPilot") / "bin"
    with _cloud(at) as (fake, environment):
        image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
        environment |= {
            "PATH": f"{place}{os.pathsep}{os.environ['PATH']}",
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        }
        argv = [str(place / "python"), str(ROOT / "tests" / "clients" / "skypilot_day.py"), image]
        steps = json.loads(_said(argv, env=environment, cwd=at))
    bad = [step for step in steps if not step[1]]
    if bad:
        raise SystemExit(f"SkyPilot: {bad}")
    found = {name: [calls, used] for name, _, _, calls, used in steps}
    for name, row in found.items():
        print(f"SkyPilot {name}: {row}", flush=True)
    return found
