"""hotdesk beside the tools that people compare it with, all in one run: what they install, what a command
costs, and which calls to EC2 they make.

    python -m benchmarks.peers [--environments FOLDER] [--runs 5] [--out benchmarks/results/peers.json]

Installs each from the package index into an environment of its own, without pip's cache: a minute to several
for each. --environments keeps them, for the next run. The calls are counted by the fake EC2, at the pace of
EC2, with machines that can be logged into at port 22: that needs root, and is left out without it.
`python -m benchmarks.report` writes docs/benchmarks.md from what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fake_ec2.checks import DEEP
from fake_ec2.process import FakeEc2

ROOT = Path(__file__).resolve().parents[1]
SKYPILOT, DSTACK, GPUHUNT = "skypilot[aws]==0.14.1", "dstack[aws]==0.22.5", "gpuhunt==0.1.34"
REGION = "us-east-1"
#: What is installed, and the commands whose processor time is measured.
PEERS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "hotdesk": (
        "{wheel}",
        {"--version": ["hotdesk", "--version"], "--help": ["hotdesk", "--help"], "list": ["hotdesk", "ls"]},
    ),
    "hotdesk[local,aws]": ("{wheel}[local,aws]", {"list": ["hotdesk", "ls"]}),
    "SkyPilot": (
        SKYPILOT,
        {"--version": ["sky", "--version"], "--help": ["sky", "--help"]},
    ),
    "dstack": (DSTACK, {"--version": ["dstack", "--version"], "--help": ["dstack", "--help"]}),
    "gpuhunt (a library)": (GPUHUNT, {}),
}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--environments", type=Path)
    ask.add_argument("--runs", type=int, default=5)
    ask.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "peers.json")
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.environments or Path(scratch)).absolute()
        kernel = ".".join(platform.release().split(".")[:2])
        found: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{os.cpu_count()} processors, {platform.system()} {kernel}",
            "python": platform.python_version(),
            "commit": _said(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
            "load": os.getloadavg()[0],
            "installed": _installed(folder),
            "commands": _commands(folder, Path(scratch), given.runs),
        }
        if os.geteuid() == 0:
            found["calls"] = {
                "hotdesk": _hotdesk_day(folder, Path(scratch)),
                "SkyPilot": _skypilot_day(folder, Path(scratch)),
            }
        else:
            print("no calls were counted: machines at port 22 need root", file=sys.stderr)
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"kept in {given.out}")


def _said(argv: list[str], **more: Any) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, **more).stdout.strip()


# ---- what is installed ---------------------------------------------------------------------------


def _installed(folder: Path) -> dict[str, dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    measured = folder / "installed.json"
    known = json.loads(measured.read_text()) if measured.exists() else {}
    wheel = _wheel(folder)
    for name, (what, _) in PEERS.items():
        home = folder / name.replace("[", "-").replace("]", "").replace(",", "-").split()[0]
        if name in known and (home / "bin" / "python").exists() and not name.startswith("hotdesk"):
            print(f"{name}: is there", flush=True)
            continue
        venv.create(home, with_pip=True, clear=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        bare = _bytes(home)
        began = time.perf_counter()
        subprocess.run([*pip, "install", "-q", "--no-cache-dir", what.format(wheel=wheel)], check=True)
        seconds = time.perf_counter() - began
        packages = json.loads(_said([*pip, "list", "--format", "json"]))
        known[name] = {
            "folder": home.name,
            "what": what.format(wheel="hotdesk"),
            "seconds": round(seconds, 1),
            "mb": round((_bytes(home) - bare) / 1e6, 1),
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


def _commands(folder: Path, scratch: Path, runs: int) -> dict[str, dict[str, list[float]]]:
    """Processor seconds (user and system) of each command, all in turn, the first round not counted."""
    home = scratch / "home"
    home.mkdir()
    places = json.loads((folder / "installed.json").read_text())
    taken: dict[str, dict[str, list[float]]] = {}
    for number in range(runs + 1):
        for name, (_, commands) in PEERS.items():
            for what, (program, *words) in commands.items():
                argv = [str(folder / places[name]["folder"] / "bin" / program), *words]
                seconds = _processor(lambda argv=argv: _run_at(home, argv))  # type: ignore[misc]
                if number:
                    taken.setdefault(what, {}).setdefault(name, []).append(round(seconds, 3))
    for what, by_name in taken.items():
        print(
            f"{what}: " + ", ".join(f"{n} {statistics.median(s):.2f} s" for n, s in by_name.items()),
            flush=True,
        )
    return taken


def _run_at(home: Path, argv: list[str]) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_", "PYTHON"))}
    environment |= {"HOME": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    subprocess.run(argv, env=environment, cwd=home, check=True, capture_output=True)


def _processor(do: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    do()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ---- which calls to EC2 --------------------------------------------------------------------------


@contextmanager
def _cloud(home: Path) -> Iterator[tuple[FakeEc2, dict[str, str]]]:
    """The fake EC2 at its real pace, with machines at port 22; and the environment of who uses it."""
    home.mkdir()
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIAFAKEFAKEFAKEFAKE\naws_secret_access_key = fake\n"
    )
    os.environ["HOTDESK_LIGHT_PORT"] = "22"
    with FakeEc2(rig="tests.light:machines", pace=1.0) as fake:
        regions = fake.post("regions")
        fake.post("regions", disable=[region for region in regions if region != REGION])
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HOTDESK_", "PYTHON"))}
        more = {"AWS_ENDPOINT_URL": fake.url, "AWS_DEFAULT_REGION": REGION, "HOME": str(home)}
        yield fake, {**kept, **more, "AWS_EC2_METADATA_DISABLED": "true"}


def _hotdesk_day(folder: Path, scratch: Path) -> dict[str, list[float]]:
    """By step: calls, processor seconds, seconds. `launch` ends when ssh and Jupyter have answered."""
    home = scratch / "hotdesk"
    place = json.loads((folder / "installed.json").read_text())["hotdesk[local,aws]"]["folder"]
    steps: dict[str, list[float]] = {}
    with _cloud(home) as (fake, environment):
        (home / "hotdesk.toml").write_text(
            f'[defaults]\nprovider = "aws"\nregions = ["{REGION}"]\n[aws]\naddress = "127.0.0.1/32"\n'
        )
        environment |= {"HOTDESK_CONFIG": str(home / "hotdesk.toml")}
        program = str(folder / place / "bin" / "hotdesk")
        day = {
            "launch": ["up", "blue", "--type", "t3.medium", "--market", "on-demand"],
            "status": ["ls"],
            "stop": ["stop", "blue", "--yes"],
            "start": ["start", "blue"],
            "down": ["down", "blue", "--yes"],
        }
        for step, words in day.items():
            before, began = len(fake.get("log")), time.perf_counter()

            def act(words: list[str] = words) -> None:
                done = subprocess.run(
                    [program, *words], env=environment, cwd=home, capture_output=True, text=True
                )
                if done.returncode:
                    raise SystemExit(f"hotdesk {' '.join(words)}: {done.stderr}")

            used = _processor(act)
            wall = time.perf_counter() - began
            steps[step] = [len(fake.get("log")) - before, round(used, 2), round(wall, 1)]
            print(f"hotdesk {step}: {steps[step]}", flush=True)
    return steps


def _skypilot_day(folder: Path, scratch: Path) -> dict[str, list[float]]:
    """By step: calls, processor seconds. `launch` ends with the login, before its runtime is installed."""
    home = scratch / "skypilot"
    place = folder / json.loads((folder / "installed.json").read_text())["SkyPilot"]["folder"] / "bin"
    with _cloud(home) as (fake, environment):
        image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
        environment |= {
            "PATH": f"{place}{os.pathsep}{os.environ['PATH']}",
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        }
        argv = [str(place / "python"), str(ROOT / "tests" / "clients" / "skypilot_day.py"), image]
        steps = json.loads(_said(argv, env=environment, cwd=home))
    bad = [step for step in steps if not step[1]]
    if bad:
        raise SystemExit(f"SkyPilot: {bad}")
    found = {name: [calls, used] for name, _, _, calls, used in steps}
    for name, row in found.items():
        print(f"SkyPilot {name}: {row}", flush=True)
    return found


if __name__ == "__main__":
    main()
