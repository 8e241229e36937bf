"""Look for input that is neither read nor told as an error, guided by coverage (tests/parsers.py).

    python scripts/fuzz.py [SECONDS [TARGET ...]]    60 seconds for each target, or for those named

It needs atheris, which is in no lock of hotdesk's: CONTRIBUTING.md has the line that installs it. Each
target runs in a process of its own. What is found is printed with the bytes that do it: they become a seed
of the target, or a test, before the fault is mended. The exit status is the number of targets with a fault.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


def one(name: str, seconds: int, folder: Path) -> None:
    """Fuzz one target in this process, which ends with it, and cleans nothing up."""
    import atheris

    with atheris.instrument_imports(include=["hotdesk"]):
        from tests import parsers
    call, may = parsers.TARGETS[name], parsers.ALLOWED[name]

    def run(data: bytes) -> None:
        with contextlib.suppress(may):
            call(data)

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(parsers.SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    argv = [sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-artifact_prefix={folder}/"]
    atheris.Setup([*argv, "-max_len=4096", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"], run)
    atheris.Fuzz()


def main(words: list[str]) -> int:
    if words[:1] == ["--one"]:
        one(words[1], int(words[2]), Path(words[3]))
        return 0
    from tests import parsers

    seconds = int(words[0]) if words else 60
    faults = 0
    tell = sys.stdout.write
    for name in words[1:] or parsers.TARGETS:
        with tempfile.TemporaryDirectory(prefix="hotdesk-fuzz-") as folder:
            argv = [sys.executable, __file__, "--one", name, str(seconds), folder]
            own = {**os.environ, "TMPDIR": folder}
            done = subprocess.run(
                argv, env=own, capture_output=True, text=True, errors="replace", check=False
            )
        said = done.stderr.splitlines()
        runs = next((line.split()[-1] for line in said if "number_of_executed_units" in line), "?")
        tell(f"{name:20} {'FAULT' if done.returncode else 'ok':6} {runs} runs in {seconds} s\n")
        if done.returncode:
            faults += 1
            tell("\n".join([done.stdout[-4000:], *said[-25:], ""]))
        sys.stdout.flush()
    parsers.clear()
    return faults


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
