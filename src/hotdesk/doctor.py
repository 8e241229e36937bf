"""What is wrong, why, and how to mend it; as findings, which the doors show."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hotdesk.core.errors import Damaged, HotdeskError, Newer
from hotdesk.core.model import Desk, Goal, Instance, Survey, Value
from hotdesk.core.steps import Ask
from hotdesk.providers import local
from hotdesk.store import Store
from hotdesk.world import SystemClock, config_files, state_folder

if TYPE_CHECKING:
    from hotdesk.api import Hotdesk

LEAST_FREE_GIB = 2.0


class Finding(Value, frozen=True):
    level: str  # ok | note | bad: whether something must be done
    what: str
    why: str = ""
    fix: str = ""
    mends: str = ""  # what `--fix` can do about it by itself: "chmod PATH"


def findings(only: str | None = None) -> Iterator[Finding]:
    """Everything worth saying, of this computer and of all desks (or of one)."""
    yield from _programs()
    yield from _packages()
    yield from _jupyter_of_old()
    folder = state_folder()
    yield from _space(folder)
    yield from _config()
    yield from _rights(folder)
    try:
        from hotdesk.api import Hotdesk

        with Hotdesk() as desks:
            yield from _desks(desks, only)
    except HotdeskError as error:
        yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)


def mend(found: Finding) -> bool:
    """Do what is safe to do about a finding; whether something was done."""
    verb, _, path = found.mends.partition(" ")
    if verb == "chmod":
        target = Path(path)
        target.chmod(0o700 if target.is_dir() else 0o600)
        return True
    return False


def adopt() -> list[Desk]:
    """Make rows for desks that are seen and have none; the rows made.

    A state file that cannot be read is set aside first, never deleted.
    """
    from hotdesk.api import Hotdesk

    folder = state_folder()
    try:
        with Store(folder) as store:
            store.desks()
    except Newer:
        raise
    except Damaged:
        stamp = int(SystemClock().now())
        for file in (folder / "hotdesk.db", folder / "hotdesk.db-wal", folder / "hotdesk.db-shm"):
            if file.exists():
                file.rename(file.with_name(f"{file.name}.damaged-{stamp}"))
    made = []
    with Hotdesk() as desks:
        for provider in desks.clouds():
            for name, seen in desks.survey(provider).by_desk().items():
                if desk := desks.adoptable(name, seen, provider):
                    desks.store.put(desk)
                    made.append(desk)
    return made


# ---- this computer -----------------------------------------------------------------------------------


def _programs() -> Iterator[Finding]:
    for name in ("ssh", "ssh-keygen"):
        if shutil.which(name):
            continue
        fix = "sudo apt-get install openssh-client"
        yield Finding(
            level="bad", what=f"There is no {name} on this computer.", why="Desks are reached by it.", fix=fix
        )
    for name, use in (
        ("tmux", "work at a local desk survives a lost connection"),
        ("rsync", "push and pull copy only changes"),
    ):
        if not shutil.which(name):
            yield Finding(
                level="note",
                what=f"There is no {name}.",
                why=f"With it, {use}.",
                fix=f"sudo apt-get install {name}",
            )


def _packages() -> Iterator[Finding]:
    try:
        local.check_packages()
    except HotdeskError as error:
        yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)


def _jupyter_of_old() -> Iterator[Finding]:
    """Settings of the classic notebook, which today's Jupyter ignores without a word."""
    config = Path.home() / ".jupyter" / "jupyter_notebook_config.py"
    try:
        text = config.read_text("utf-8", "replace")
    except OSError:
        return
    lines = (line.strip() for line in text.splitlines())
    if any(line.startswith("c.NotebookApp.") for line in lines):
        yield Finding(
            level="note",
            what=f"{config} sets c.NotebookApp, which JupyterLab ignores.",
            why="A password or address set there is not in force. Desks do not read this file.",
            fix="jupyter lab password   # for a Jupyter of your own outside hotdesk",
        )


def _space(folder: Path) -> Iterator[Finding]:
    near = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(near).free / 2**30
    if free < LEAST_FREE_GIB:
        yield Finding(
            level="bad",
            what=f"Only {free:.1f} GiB are free below {near}.",
            why="Parking a local desk needs room for its image before the disk may go.",
            fix="df -h",
        )


def _config() -> Iterator[Finding]:
    from hotdesk.config import load

    try:
        load(config_files())
    except HotdeskError as error:
        yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)


def _rights(folder: Path) -> Iterator[Finding]:
    """Keys and state that others on this computer can read; halves of keys that are missing."""
    if not folder.exists():
        return
    secrets = [folder, folder / "hotdesk.db", *(folder / "desks").glob("*"), *(folder / "desks").glob("*/*")]
    for path in secrets:
        if (
            path.exists()
            and not path.name.endswith(".pub")
            and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        ):
            yield Finding(
                level="bad",
                what=f"{path} can be read by others.",
                why="It holds keys, passwords or your journal; ssh refuses keys like that.",
                fix="hotdesk doctor --fix",
                mends=f"chmod {path}",
            )


# ---- desks -------------------------------------------------------------------------------------------


def _desks(desks: Hotdesk, only: str | None) -> Iterator[Finding]:
    rows = desks.store.desks()
    if only:
        rows = [desks.store.desk(only)]
    surveys: dict[str, Survey] = {}
    for provider in sorted(desks.clouds()):
        try:
            surveys[provider] = desks.survey(provider)
        except HotdeskError as error:
            yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)
    for desk in rows:
        if desk.provider in surveys:
            yield from _desk(desks, desk, surveys[desk.provider])
    if only is None:
        for survey in surveys.values():
            yield from _nobodys(survey, desks.store.desks(), desks.clock.now())


def _desk(desks: Hotdesk, desk: Desk, survey: Survey) -> Iterator[Finding]:
    from hotdesk.core.plan import plan

    seen = survey.of(desk.name)
    if open_ := [r for r in desks.store.rows(desk.name) if r.outcome is None]:
        yield Finding(
            level="note",
            what=f"{desk.name}: {len(open_)} steps never ended, the last: {open_[-1].step.key}.",
            why="A command was killed, or is at work. Whatever it began is looked for before anything else.",
            fix=f"hotdesk watch --once {desk.name}",
        )
    if desk.provider != "local" and desk.idle_minutes == 0 and seen.live is not None:
        yield Finding(
            level="note",
            what=f"{desk.name} never ends itself when nothing works there.",
            why=f"You said so (--idle never). It costs {seen.live.usd_per_hour:.4g} dollars an hour.",
            fix=f"hotdesk up {desk.name} --idle 60",
        )
    if seen.live is not None and (lost := _lost_keys(desks, desk)):
        yield Finding(
            level="bad",
            what=f"{desk.name} runs, and this computer has lost its {', '.join(lost)}.",
            why=(
                "They were made here and exist nowhere else, so nobody can log in to this machine any more. "
                "Its files are whole: parked and resumed, the desk gets new keys (what runs there ends)."
            ),
            fix=f"hotdesk park {desk.name} && hotdesk resume {desk.name}",
        )
        return
    if seen.live is not None and seen.live.open_to:
        yield _open(desk, seen.live)
    steps = plan(desk, seen, desks.store.past(desk), desks.clock.now())
    match steps:
        case []:
            yield Finding(level="ok", what=f"{desk.name} is {desk.goal}, as you asked.")
        case [Ask(what=what, why=why, fix=fix), *_]:
            yield Finding(level="bad", what=what, why=why, fix=fix)
        case [step, *_]:
            verb = type(step).__name__.lower()
            if desk.goal is Goal.RUNNING and verb == "prove":
                yield from _answers(desks, desk)
                return
            yield Finding(
                level="note",
                what=f"{desk.name} is not {desk.goal} yet; next: {verb}.",
                why=step.why,
                fix=f"hotdesk watch --once {desk.name}",
            )


def _open(desk: Desk, machine: Instance) -> Finding:
    """Who can reach Jupyter's port of a machine without a tunnel."""
    who, private = ", ".join(machine.open_to), f"hotdesk notebook {desk.name} --private"
    if not desk.public:
        return Finding(
            level="note",
            what=f"{desk.name}: port 8888 of its network is open to {who}.",
            why="It was opened for another desk, or by another computer. This one's Jupyter is not there.",
            fix=private,
        )
    wide = [r for r in machine.open_to if int(r.partition("/")[2] or 128) < 24]
    return Finding(
        level="bad" if wide else "note",
        what=f"{desk.name}'s Jupyter is open to {who}, with TLS and its password.",
        why=f"You said so (--public). {', '.join(wide)} is many strangers."
        if wide
        else "You said so (--public).",
        fix=private,
    )


def _lost_keys(desks: Hotdesk, desk: Desk) -> list[str]:
    """What is missing of what a login needs: without one half of a key pair, the other is worth nothing."""
    folder = desks.state / "desks" / desk.name
    needed = {
        "id_ed25519": "private key",
        "known_hosts": "pinned host key",
        "notebook-password": "notebook password",
    }
    return [what for name, what in needed.items() if not (folder / name).exists()]


def _answers(desks: Hotdesk, desk: Desk) -> Iterator[Finding]:
    from hotdesk.connect.prove import prove
    from hotdesk.core.errors import Refused

    try:
        prove(desks.access(desk.name))
    except Refused as refused:
        fix = refused.fix or f"hotdesk up {desk.name}"
        yield Finding(level="bad", what=f"{desk.name} does not answer.", why=refused.message, fix=fix)
    except HotdeskError as error:
        yield Finding(level="bad", what=error.what, why=error.why, fix=error.fix)
    else:
        yield Finding(level="ok", what=f"{desk.name} answers: ssh and Jupyter.")


def _nobodys(survey: Survey, desks: list[Desk], now: float) -> Iterator[Finding]:
    from hotdesk.leftovers import things

    for thing in things(survey, desks, now):
        month = f", ${thing.usd_per_month:.2f} a month" if thing.usd_per_month else ""
        whose = f" of {thing.desk}" if thing.desk else ""
        word = "is not needed" if thing.safe else "belongs to no desk of this computer"
        yield Finding(
            level="note",
            what=f"{survey.provider}: {thing.kind} {thing.id}{whose} {word}{month}.",
            why=thing.why,
            fix=thing.fix or "hotdesk gc --yes",
        )
