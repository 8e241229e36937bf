"""What the agent and the watch over idleness cost on a desk: processor time and memory, as they run there.

    python -m benchmarks.agent --seconds 180

Both run as processes of their own from the very text that a machine is sent, for that long: the agent against
a metadata service on the loopback that calls this a spot machine, the watch over this computer's processes.
"""

from __future__ import annotations

import argparse
import http.server
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from hotdesk.guest.one_file import source

WATCH = """
import sys, time; sys.path.insert(0, sys.argv[1]); import idle
watch = idle.Watch([sys.argv[1]], idle_minutes=60.0)
while True:
    watch.turn()
    time.sleep(idle.LOOK_SECONDS)
"""


class Metadata(http.server.BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self._say(200, "token")

    def do_GET(self) -> None:
        self._say(200, "spot") if self.path.endswith("life-cycle") else self._say(404, "")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None: ...


def measured(pid: int) -> tuple[float, float]:
    """Processor seconds, its ended children's included; the most memory it ever had, in MB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    ticks = sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK"), int(status["VmHWM"].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0)
    seconds = parser.parse_args().seconds
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "agent.py").write_text(source("agent"))
        (Path(folder) / "idle.py").write_text(source("idle"))
        environment = {
            **os.environ,
            "HOTDESK_IMDS": f"http://127.0.0.1:{server.server_port}",
            "HOTDESK_HOMES": folder,
            "HOTDESK_LIB": folder,
            "HOTDESK_RUN": folder,
        }
        commands = {
            "agent": [sys.executable, f"{folder}/agent.py", "run"],
            "idle": [sys.executable, "-c", WATCH, folder],
        }
        running = {name: subprocess.Popen(words, env=environment) for name, words in commands.items()}
        try:
            time.sleep(2.0)  # beginning is paid once
            before = {name: measured(process.pid) for name, process in running.items()}
            time.sleep(seconds)
            for name, process in running.items():
                used, megabytes = measured(process.pid)
                share = (used - before[name][0]) / seconds
                print(f"{name:6} {share:7.3%} of one core  {megabytes:5.1f} MB  over {seconds:.0f} s")
        finally:
            for process in running.values():
                process.terminate()
                process.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
