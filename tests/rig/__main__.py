"""`python -m tests.rig`: remove what rigs have left whose process has gone; print each thing.

With --lacking: say why real machines cannot be tested here, and end with 1; nothing where they can.
"""

from __future__ import annotations

import sys

from tests.rig import ground
from tests.rig.sweep import sweep

if __name__ == "__main__":
    if sys.argv[1:] == ["--lacking"]:
        why = ground.lacking() or ground.unreachable()
        if why:
            print(why)
        sys.exit(1 if why else 0)
    for thing in sweep():
        print(thing)
    sys.exit(0)
