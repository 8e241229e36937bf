"""Time the user's own job by the lines that it prints."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shlex
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from .machine import Sorry, number, processor, shared
from .timing import HALF_WIDTH, interval, report


def own_job(command: str, pattern: str, items: float, seconds: float, steps_wanted: int) -> Any:
    """Run a command and time its steps by the lines it prints; end it when the rate is known.

    A number in the pattern's first group is the step's number, so that one line may stand for many steps.
    """
    try:
        regex = re.compile(pattern)
        words = shlex.split(command)
    except (re.error, ValueError) as error:
        raise Sorry(f"The command or the step pattern cannot be read: {error}.", "", "") from None
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    try:
        child = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    except OSError as error:
        raise Sorry(
            f"{words[0] if words else command!r} cannot be started: {error.strerror}.", "", ""
        ) from None
    seen: list[tuple[float, float]] = []
    lines: list[str] = []
    began, before = time.monotonic(), processor()
    try:
        for stamp, line in printed(child, began + seconds):
            lines = [*lines[-4:], line]
            if found := regex.search(line):
                count = number(found[1]) if regex.groups and found[1] else None
                seen.append((stamp, float(len(seen)) if count is None else count))
            if len(seen) > steps_wanted and settled(seen):
                break
    finally:
        end(child)
    after = processor()
    if len(seen) < 4:
        last = " | ".join(lines)[-300:] or "nothing"
        raise Sorry(
            f"The command printed {len(seen)} lines with the step pattern {pattern!r}; 4 are needed.",
            f"It ran {time.monotonic() - began:.0f} s and ended with {child.returncode}. It said: {last}",
            'hotdesk bench --cmd "python train.py" --step-regex "step (\\d+)" --time-limit 2m',
        )
    gaps = per_step(seen)
    own = after.own - before.own
    low, high = interval(gaps)
    third = max(1, len(gaps) // 3)
    times = {
        "median_step_s": statistics.median(gaps),
        "ci95_step_s": (low, high),
        "p10_step_s": sorted(gaps)[len(gaps) // 10],
        "p90_step_s": sorted(gaps)[len(gaps) * 9 // 10],
        "first_step_s": seen[0][0] - began,
        "warmup_steps": len(seen) - 1 - len(gaps),
        "steps": seen[-1][1] - seen[0][1],
        "blocks": len(gaps),
        "cpu_s_per_step": own / max(seen[-1][1] - seen[0][1], 1),
        "drift": statistics.median(gaps[-third:]) / statistics.median(gaps[:third]) - 1,
        **shared(before, after),
        "sure": (high - low) / 2 < HALF_WIDTH * statistics.median(gaps),
        "power_w_mean": None,
        "temp_c_max": None,
    }
    done = report(times, 1, "steps", True, 0.0)
    done["result"] = {
        key: value * items if key in ("items_per_s", "ci95_low", "ci95_high") else value
        for key, value in done["result"].items()
    }
    done["result"]["unit"] = "items" if items != 1 else "steps"
    done["result"]["cpu_s_per_item"] /= items
    done["workload"] = {
        "name": "command",
        "version": 1,
        "precision": "",
        "command": command,
        "step_regex": pattern,
    }
    return done


def per_step(seen: list[tuple[float, float]]) -> list[float]:
    """Seconds per step between matched lines, without the first sixth as warm-up."""
    pairs = [(seen[i - 1], seen[i]) for i in range(1, len(seen))]
    gaps = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in pairs if b[1] > a[1]]
    return gaps[max(1, len(gaps) // 6) :] or gaps


def settled(seen: list[tuple[float, float]]) -> bool:
    gaps = per_step(seen)
    low, high = interval(gaps)
    return (high - low) / 2 < HALF_WIDTH * statistics.median(gaps)


def printed(child: Any, until: float) -> Iterator[tuple[float, str]]:
    """The child's lines as they come (progress bars end theirs with a carriage return), with their times."""
    selectors = importlib.import_module("selectors")
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while time.monotonic() < until:
            if not selector.select(timeout=min(0.5, max(0.0, until - time.monotonic()))):
                continue
            chunk = os.read(child.stdout.fileno(), 65536)
            if not chunk:
                break
            now = time.monotonic()
            *whole, rest = re.split(rb"[\r\n]+", rest + chunk)
            for line in whole:
                yield now, line.decode(errors="replace")
    if rest:
        yield time.monotonic(), rest.decode(errors="replace")


def end(child: Any) -> None:
    """Stop the child and its process group; kill them after 10 seconds."""
    for sign, patience in ((signal.SIGINT, 5), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=patience)
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.stdout.close()
