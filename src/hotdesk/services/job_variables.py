"""The environment variables of a job, gathered from options, files and this environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hotdesk.core.errors import Unknown, Usage
from hotdesk.core.jobs import Variables
from hotdesk.core.model import Value

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BYTES = 100_000  # of one: Linux takes 128 KiB (MAX_ARG_STRLEN), with the name


class Gathered(Value, frozen=True):
    """A job's variables, and those that somebody still has to be asked for."""

    variables: Variables = Variables()
    missing: tuple[str, ...] = ()  # secrets that this environment lacks

    def complete(self) -> Variables:
        """The variables. Raises `Unknown` where a secret is missing."""
        for name in self.missing:
            raise Unknown(
                f"There is no value for the secret {name}.",
                f"{name} is not set here, and nobody can be asked.",
                f"read -rs {name} && export {name}   # then the same command",
            )
        return self.variables

    def answered(self, answers: Mapping[str, str]) -> Gathered:
        """With these values for what was missing. Raises `Usage`."""
        for name, value in answers.items():
            _check(name, value)
        values = {**self.variables.values, **answers}
        return Gathered(
            variables=Variables(values=values, secrets=self.variables.secrets),
            missing=tuple(name for name in self.missing if name not in answers),
        )


def gather(
    env: Mapping[str, str | None],
    files: Iterable[Path],
    secrets: Mapping[str, str | None],
    here: Mapping[str, str],
) -> Gathered:
    """The variables; a value of None is taken from `here`, this environment. Later ones count more.

    Raises `Usage` for what no environment can hold, `Unknown` for a file or a variable that there is not.
    """
    values: dict[str, str] = {}
    for file in files:
        values |= {name: here[name] if value is None else value for name, value in _read(file, here).items()}
    for name, value in env.items():
        values[name] = _here(name, here) if value is None else value
    missing = []
    for name, value in secrets.items():
        told = here.get(name) if value is None else value
        if told is None and name not in values:
            missing.append(name)
        elif told is not None:
            values[name] = told
    for name, value in [*values.items(), *((name, "") for name in missing)]:
        _check(name, value)
    return Gathered(variables=Variables(values=values, secrets=tuple(secrets)), missing=tuple(missing))


def _here(name: str, here: Mapping[str, str]) -> str:
    if name in here:
        return here[name]
    raise Unknown(
        f"{name} is not set here.", "--env KEY takes the value from this environment.", f"--env {name}=VALUE"
    )


def _read(file: Path, here: Mapping[str, str]) -> dict[str, str | None]:
    """The lines KEY=VALUE of a file, as python-dotenv reads them, and nothing expanded."""
    from dotenv.parser import parse_stream

    found: dict[str, str | None] = {}
    try:
        with file.open(encoding="utf-8") as lines:
            for line in parse_stream(lines):
                if line.error or (line.key and line.value is None and line.key not in here):
                    why = f"Line {line.original.line} is not KEY=VALUE."  # its text may be a secret
                    raise Usage(f"{file} is no file of variables.", why, f"${{EDITOR:-vi}} {file}")
                if line.key:
                    found[line.key] = line.value
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "It is not UTF-8."
        raise Unknown(f"{file} cannot be read.", why, f"ls -l {file}") from None
    return found


def _check(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        raise Usage(
            f"{name[:40]!r} is no name of a variable.", "Letters, digits and _ make one.", "--env KEY=VALUE"
        )
    if name.startswith("HOTDESK_"):
        raise Usage(f"{name} is hotdesk's own.", "It sets such variables for the job.", "another name")
    if "\0" in value or len(value.encode("utf-8", "surrogateescape")) > _BYTES:
        raise Usage(
            f"The value of {name} does not fit into an environment.",
            f"It has more than {_BYTES} bytes, or a zero byte.",
            "a file of the project, or: hotdesk push",
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Usage(f"The value of {name} is not UTF-8.", "", f"--env {name}=VALUE") from None
