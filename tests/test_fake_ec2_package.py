"""The fake EC2 as others get it: a wheel of its own, where neither hotdesk nor its tests are."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytest.importorskip("moto", reason="the fake EC2 is built on moto: pip install 'moto[server]'")
pytest.importorskip("hatchling", reason="a wheel is built with hatchling: pip install hatchling")

FOLDER = Path(__file__).parents[1] / "fakes" / "ec2"
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
#: What an import needs that is no distribution of its own name here.
BROUGHT_BY = {"botocore": "boto3"}
#: With a client of the environment's own: a launch, and whose code it was.
SCRIPT = """
import importlib.util, fake_ec2
from fake_ec2.checks import DEEP
from fake_ec2.process import FakeEc2
assert importlib.util.find_spec("hotdesk") is None and importlib.util.find_spec("tests") is None
with FakeEc2(rig="fake_ec2.paper_rig:machines") as fake:
    image = fake.client("ssm").get_parameter(Name=DEEP)["Parameter"]["Value"]
    made = fake.client().run_instances(ImageId=image, InstanceType="g5.xlarge", MinCount=1, MaxCount=1)
    fake.client().get_waiter("instance_running").wait(
        InstanceIds=[made["Instances"][0]["InstanceId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    print(made["Instances"][0]["State"]["Name"], fake_ec2.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-w", folder]
    subprocess.run([sys.executable, "-m", "pip", *words, FOLDER], check=True, timeout=300)
    [made] = folder.glob("fake_ec2-*.whl")
    return made


def talk(folder: Path, home: Path) -> None:
    """Its own server and client answer each other, in an environment where nobody has set a thing."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("AWS_")}
    environment = {**kept, "HOME": str(home)}
    asked = {"env": environment, "cwd": home, "capture_output": True, "text": True, "timeout": 300}
    ran = subprocess.run([folder / "bin" / "python", "-c", SCRIPT], **asked)  # type: ignore[call-overload]
    assert ran.returncode == 0, ran.stderr
    state, file = ran.stdout.split()
    assert state == "pending"
    assert Path(file).is_relative_to(folder)
    helped = subprocess.run([folder / "bin" / "fake-ec2", "--help"], **asked)  # type: ignore[call-overload]
    assert "--latency MS" in helped.stdout


def test_it_needs_what_it_says_and_nothing_else() -> None:
    said = {need.partition("[")[0].partition(">")[0] for need in PROJECT["dependencies"]}
    needed: set[str] = set()
    for file in (FOLDER / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"fake_ec2"}
            assert "pytest" not in tops or file.name == "fixtures.py"
            needed |= {BROUGHT_BY.get(top, top) for top in tops - {"pytest"}}
    assert needed == said


@pytest.mark.slow
def test_a_wheel_holds_it_and_runs_where_hotdesk_is_not(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        [told] = [name for name in names if name.endswith("/METADATA")]
        metadata = Parser().parsestr(file.read(told).decode())
    ours = {f"fake_ec2/{path.name}" for path in (FOLDER / "src" / "fake_ec2").iterdir() if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == ours
    needs = [need for need in metadata.get_all("Requires-Dist") or [] if "extra ==" not in need]
    assert {n.replace(" ", "").partition("[")[0].partition(">")[0] for n in needs} == {"boto3", "moto"}
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    words = ["install", "-q", "--no-deps", "--disable-pip-version-check", wheel]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *words], check=True, timeout=300)
    [place] = (tmp_path / "env" / "lib").glob("*/site-packages")
    # Its dependencies are those of this environment; a path file of theirs, as hotdesk's, is not read.
    (place / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "home").mkdir()
    talk(tmp_path / "env", tmp_path / "home")


@pytest.mark.long
def test_a_wheel_brings_its_dependencies_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """From the registry that pip is configured for."""
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    words = ["-m", "pip", "install", "-q", "--disable-pip-version-check", wheel]
    subprocess.run([tmp_path / "env" / "bin" / "python", *words], check=True, timeout=1800)
    (tmp_path / "home").mkdir()
    talk(tmp_path / "env", tmp_path / "home")
