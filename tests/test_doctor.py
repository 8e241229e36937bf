"""The doctor on this computer: each thing once, and what `--fix` does is safe and enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hotdesk import __version__
from tests.conftest import Command
from tests.local_rig import tool

pytestmark = tool("ssh")


def bad(hotdesk: Command, *words: str) -> list[dict[str, str]]:
    return [f for f in json.loads(hotdesk("doctor", *words, "--json").stdout) if f["level"] == "bad"]


def test_a_settings_error_is_said_once(hotdesk: Command, home: Path) -> None:
    (home / "hotdesk.toml").write_text("[defaults]\nusd_per_moth = 5\n")
    done = hotdesk("doctor")
    assert done.returncode == 5
    assert done.stdout.count("usd_per_moth") == 1
    assert "usd_per_month" in done.stdout


def test_halves_of_keys_and_limits_that_a_desk_was_not_told(hotdesk: Command, tmp_path: Path) -> None:
    """1. Up. 2. The public half is lost, then another's. 3. --fix. 4. The desk's limits are lost. 5. Its
    programs are of another version."""
    assert hotdesk("up", "blue", "--lease", "2h", "--idle", "never").returncode == 0
    assert bad(hotdesk, "blue") == []
    public = tmp_path / "state" / "desks" / "blue" / "id_ed25519.pub"
    whole = public.read_text()
    public.unlink()
    [lost] = bad(hotdesk, "blue")
    assert "missing" in lost["what"]
    public.write_text("ssh-ed25519 AAAAsomebodyelse x\n")
    [other] = bad(hotdesk, "blue")
    assert "not the half" in other["what"]
    assert hotdesk("doctor", "blue", "--fix").returncode == 0
    assert public.read_text().split()[:2] == whole.split()[:2]
    assert bad(hotdesk, "blue") == []

    assert hotdesk("ssh", "blue", "--", "rm .hotdesk/leave").returncode == 0
    [limits] = bad(hotdesk, "blue")
    assert "wrong shutdown limits" in limits["what"]
    assert hotdesk(*limits["fix"].partition("#")[0].split()[1:]).returncode == 0
    assert bad(hotdesk, "blue") == []

    def other_version() -> list[str]:
        """What is said of another hotdesk at the desk: what it is, and what to do."""
        said = json.loads(hotdesk("doctor", "blue", "--json").stdout)
        return [f"{f['what']} {f['fix']}" for f in said if " at blue" in f["what"]]

    assert not other_version()
    [written] = (tmp_path / "state").glob("local/machines/*/version")
    assert written.read_text() == __version__
    for there, mended in (
        ("0.0.9", "hotdesk stop blue && hotdesk start blue"),
        ("99.0", "git pull && ./setup"),
    ):
        written.write_text(there)
        [words] = other_version()
        assert f"{there} at blue" in words
        assert mended in words


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_what_others_can_read_is_mended(hotdesk: Command, tmp_path: Path, mode: int) -> None:
    hotdesk("ls")
    file = tmp_path / "state" / "hotdesk.db"
    file.chmod(mode)
    assert [f["mends"] for f in bad(hotdesk)] == [f"chmod {file}"]
    hotdesk("doctor", "--fix")
    assert bad(hotdesk) == []
    assert file.stat().st_mode & 0o777 == 0o600
