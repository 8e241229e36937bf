"""Which of this computer's Alibaba Cloud credentials are used: never of an account that is not meant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotdesk.core.errors import Kind, Refused
from hotdesk.providers.aliyun.credentials import LENT, find, has_credentials, home_region, lend, own
from hotdesk.providers.aliyun.settings import Settings

AK = {
    "name": "work",
    "mode": "AK",
    "access_key_id": "LTAIwork",
    "access_key_secret": "w",
    "region_id": "cn-shanghai",
}
STS = {
    "name": "short",
    "mode": "StsToken",
    "access_key_id": "STS.s",
    "access_key_secret": "s",
    "sts_token": "t",
}
Config = Callable[..., Path]


@pytest.fixture(autouse=True)
def alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("ALIBABA_CLOUD_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(home: Path) -> Config:
    def write(*profiles: dict[str, str], current: str = "work", text: str = "") -> Path:
        file = home / ".aliyun" / "config.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text or json.dumps({"current": current, "profiles": profiles}))
        return file

    return write


def in_the_environment(monkeypatch: pytest.MonkeyPatch, **told: str) -> None:
    for name, value in told.items():
        monkeypatch.setenv(f"ALIBABA_CLOUD_{name}", value)


def test_keys_in_the_environment_come_first(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config(AK)
    in_the_environment(monkeypatch, ACCESS_KEY_ID="LTAIenv", ACCESS_KEY_SECRET="e", SECURITY_TOKEN="t")
    assert find()()[:3] == ("LTAIenv", "e", "t")


def test_a_named_profile_is_used_alone(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config(AK, STS)
    in_the_environment(monkeypatch, ACCESS_KEY_ID="LTAIenv", ACCESS_KEY_SECRET="e")
    assert find("short")()[:3] == ("STS.s", "s", "t")
    monkeypatch.setenv("ALIBABA_CLOUD_PROFILE", "work")
    assert find()()[:3] == ("LTAIwork", "w", "")
    assert home_region() == "cn-shanghai"
    with pytest.raises(Refused, match="no profile 'elsewhere'; it has: work, short"):
        find("elsewhere")


def test_half_a_key_is_an_error_and_not_another_account(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config(AK)
    in_the_environment(monkeypatch, ACCESS_KEY_ID="LTAIenv")
    with pytest.raises(Refused, match="SECRET is not") as no:
        find()
    assert no.value.kind is Kind.DENIED
    assert "unset ALIBABA_CLOUD_ACCESS_KEY_ID" in no.value.fix


@pytest.mark.parametrize("text", ["{broken", "[]", '{"current": "work"}', '{"profiles": []}', "null"])
def test_a_damaged_configuration_is_an_error_and_not_another_account(
    config: Config, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The official chain would go on to the next source, here the credentials of somebody else."""
    file = config(text=text)
    in_the_environment(monkeypatch, CREDENTIALS_URI="http://127.0.0.1:1/another-account")
    with pytest.raises(Refused, match="cannot be read") as no:
        find()
    assert str(file) in no.value.fix


def test_a_profile_without_its_keys_says_which(config: Config) -> None:
    config({**AK, "access_key_secret": ""})
    with pytest.raises(Refused, match="has no access_key_secret"):
        find()


def test_without_any_the_commands_that_set_them_up_are_named(home: Path) -> None:
    assert not has_credentials()
    with pytest.raises(Refused, match="There are no Alibaba Cloud credentials here") as no:
        find()
    assert "aliyun configure" in no.value.fix


_LIBRARY = """\
import sys, threading
from hotdesk.providers.aliyun.credentials import find
try:
    print(*find()()[:3])
except Exception as no:
    print(type(no).__name__, no.message)
print("imported" if "alibabacloud_credentials" in sys.modules else "not imported")
print(threading.active_count())
"""


def elsewhere(**more: str) -> tuple[list[str], str]:
    """In a process of its own: the official library reads HOME and the environment when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", _LIBRARY],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.splitlines(), done.stderr


def test_plain_keys_need_no_package(config: Config) -> None:
    config(AK)
    assert elsewhere() == (["LTAIwork w ", "not imported", "1"], "")


def test_other_modes_are_the_official_librarys(config: Config, tmp_path: Path) -> None:
    """Quiet, and without a thread that outlives the command."""
    pytest.importorskip("alibabacloud_credentials", reason="the official library is not installed")
    program = tmp_path / "keys"
    program.write_text(
        '#!/bin/sh\necho \'{"mode": "AK", "access_key_id": "LTAIprog", "access_key_secret": "p"}\'\n'
    )
    program.chmod(0o755)
    config({"name": "work", "mode": "External", "process_command": str(program)})
    assert elsewhere() == (["LTAIprog p ", "imported", "1"], "")
    program.write_text("#!/bin/sh\nexit 3\n")
    said, errors = elsewhere()
    assert said[0].startswith("Refused the profile 'work'")
    assert errors == ""


def test_the_old_credentials_file_is_read_too(home: Path) -> None:
    pytest.importorskip("alibabacloud_credentials", reason="the official library is not installed")
    file = home / ".alibabacloud" / "credentials.ini"
    file.parent.mkdir()
    file.write_text("[default]\ntype = access_key\naccess_key_id = LTAIini\naccess_key_secret = i\n")
    assert has_credentials()
    said, errors = elsewhere()
    assert said[0] == "LTAIini i "
    assert errors == ""


def test_lent_keys_are_those_of_this_computer_and_come_before_all_others(
    config: Config, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the desk there may be another account, and the profile of the settings is none of that machine's."""
    file = config(AK, STS)
    settings = Settings(profile="short")
    assert own(settings) == f"its own (the profile 'short' of {file})"
    sent = lend(settings)
    assert sent.label == "the Alibaba Cloud access key STS.s…"
    lent = home / "aliyun"
    lent.write_text(sent.body)
    config({**AK, "access_key_id": "LTAIother"})
    assert own(settings) == "", "there is no such profile there"
    monkeypatch.setenv(LENT, str(lent))
    assert find("short")()[:3] == find()()[:3] == ("STS.s", "s", "t")
    assert has_credentials()
    lent.write_text("{}")
    with pytest.raises(Refused, match="cannot be read: KeyError"):
        find()


def test_the_first_use_with_plain_keys_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.15 s of a processor: what `hotdesk` imports anyway, and then this client."""
    code = (
        "import time, hotdesk.core.model; t = time.process_time()\n"
        "from hotdesk.providers.aliyun.client import Client\n"
        "from hotdesk.providers.aliyun.credentials import find\n"
        "Client(find()); print(time.process_time() - t)"
    )
    in_the_environment(monkeypatch, ACCESS_KEY_ID="LTAIenv", ACCESS_KEY_SECRET="e")
    took = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )
    assert took < 0.15, took
