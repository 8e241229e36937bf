"""`python -m tests.rig`: remove what rigs have left whose process has gone; print each thing."""

from __future__ import annotations

import sys

from tests.rig.sweep import sweep

if __name__ == "__main__":
    for thing in sweep():
        print(thing)
    sys.exit(0)
