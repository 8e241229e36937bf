"""Running the system's programs: the answer, or an error that says what the program said."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


def run(*argv: str, given: str | None = None, seconds: float = 60.0) -> str:
    """Standard output. Raises `RuntimeError` with what stands on standard error."""
    try:
        done = subprocess.run(
            argv,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"{argv[0]}: {error}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise RuntimeError(f"{' '.join(argv[:6])} ended with {done.returncode}: {said}")
    return done.stdout


def attempt(*argv: str) -> bool:
    """Whether it could be done; for taking away what may be gone already."""
    try:
        run(*argv)
    except RuntimeError:
        return False
    return True


def lines(argv: Sequence[str]) -> list[str]:
    """Lines of output, none where the program is missing or refuses."""
    try:
        return run(*argv).splitlines()
    except RuntimeError:
        return []
