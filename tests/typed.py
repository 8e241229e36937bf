"""hotdesk at a real terminal, where a person answers a question."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path


def typed(words: list[str], question: str, answer: str) -> tuple[int, str]:
    """The exit status of the command and what the terminal shows; the answer is typed where it asks."""
    main, end = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "COLUMNS": "200"}
    with subprocess.Popen(
        [sys.executable, "-m", "hotdesk", *words], stdin=end, stdout=end, stderr=end, env=environment
    ) as asking:
        os.close(end)
        said, asked = b"", False
        try:
            while part := os.read(main, 1000):
                said += part
                if not asked and question.encode() in said and said.rstrip().endswith(b":"):
                    asked = True
                    time.sleep(0.2)  # until the terminal shows nothing of a secret
                    os.write(main, f"{answer}\n".encode())
        except OSError:  # Linux, at the end of a terminal
            pass
    os.close(main)
    return asking.returncode, said.decode()
