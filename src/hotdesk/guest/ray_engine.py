"""Ray as a sweep's engine, and the only file that imports it. Runs beside the cluster's head.

    nodes, begin, wait, cancel: a line of JSON asks on standard input, lines answer on standard output

    {"begin": [{"batch": 7, "orders": […], "node": "", "cpus": 1, "gpus": 0, "memory": 0}]}
    {"cancel": {"12": 1}}        attempts up to a number: those that wait are withdrawn, others ended
    {"nodes": true}           -> {"nodes": [{"address", "cpus", "gpus"}]}
                              -> {"ended": [{"batch": 7, "results": […], "node": "127.0.0.3", "lost": ""}]}

Ray decides where a batch runs, unless its `node` is an address. What runs there only asks that machine's
resident runner to begin the attempts, and waits: whatever Ray loses or ends is somebody who waits. It ends
with its input.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import sys
import threading
from typing import Any

from hotdesk.guest.ray_node import settings

TICK_SECONDS = 0.05
CONNECT_SECONDS = 2.0
NO_HEAD = 75  # exit status: the head does not answer yet


def attend(orders: list[dict[str, Any]]) -> dict[str, Any]:
    """Have this machine's runner run a batch; what it says of each. Runs in Ray's worker."""
    import json
    import os
    import socket

    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    told: dict[str, Any] = {"machine": os.environ["HOTDESK_SWEEP_MACHINE"], "results": [], "lost": ""}
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.environ["HOTDESK_SWEEP_SOCKET"])
            batch = [dict(order, gpus=gpus) for order in orders]
            client.sendall(json.dumps({"verb": "run", "orders": batch}).encode() + b"\n")
            with client.makefile("rb") as said:
                for line in said:
                    told["results"].append(json.loads(line))
    except (OSError, ValueError) as error:
        told["lost"] = f"the runner does not answer: {error}"
    if len(told["results"]) < len(orders):
        told["lost"] = told["lost"] or "the runner has ended"
    return told


def end(tasks: dict[str, int]) -> None:
    """Have this machine's runner end attempts. Runs in Ray's worker."""
    import json
    import os
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.environ["HOTDESK_SWEEP_SOCKET"])
        client.sendall(json.dumps({"verb": "cancel", "tasks": tasks}).encode() + b"\n")
        client.recv(64)


class Engine:
    def __init__(self, address: str) -> None:
        """Raises `OSError` where no head listens."""
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()  # Ray would wait for a minute
        sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as ray_node does it, and why
        import ray

        ray.init(address=address, log_to_driver=False, logging_level="ERROR", namespace="hotdesk")
        # By value: on the machines there is no such module that Ray's own Python could import.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        self.ray = ray
        self.attend = ray.remote(max_retries=0)(attend)
        self.end = ray.remote(max_retries=0, num_cpus=0)(end)
        self.flying: dict[Any, dict[str, Any]] = {}

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "address": node["NodeManagerAddress"],
                "cpus": node["Resources"].get("CPU", 0.0),
                "gpus": node["Resources"].get("GPU", 0.0),
            }
            for node in self.ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0.0)
        ]

    def begin(self, batch: dict[str, Any]) -> None:
        options: dict[str, Any] = {"num_cpus": batch["cpus"], "num_gpus": batch["gpus"]}
        if batch["memory"]:
            options["memory"] = batch["memory"]
        if batch["node"] and (place := self._at(batch["node"])):
            options["scheduling_strategy"] = place
        self.flying[self.attend.options(**options).remote(batch["orders"])] = batch

    def _at(self, address: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for node in self.ray.nodes():
            own = node["NodeManagerAddress"] == address and node["Resources"].get("CPU", 0.0)
            if node["Alive"] and own:
                return NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        return None

    def cancel(self, tasks: dict[str, int]) -> None:
        for reference, batch in list(self.flying.items()):
            names = {str(order["task"]): order["attempt"] for order in batch["orders"]}
            if all(number <= tasks.get(task, 0) for task, number in names.items()):
                with contextlib.suppress(self.ray.exceptions.RayError):
                    self.ray.cancel(reference)  # one that runs goes on until its runner has ended it
        places = [self._at(node["address"]) for node in self.nodes()]
        asked = [self.end.options(scheduling_strategy=place).remote(tasks) for place in places if place]
        self.ray.wait(asked, num_returns=len(asked), timeout=10.0) if asked else None

    def ended(self) -> list[dict[str, Any]]:
        """The batches that have ended by now."""
        if not self.flying:
            return []
        wait = self.ray.wait(list(self.flying), num_returns=min(len(self.flying), 256), timeout=TICK_SECONDS)
        return [self._told(reference) for reference in wait[0]]

    def _told(self, reference: Any) -> dict[str, Any]:
        errors = self.ray.exceptions
        batch = self.flying.pop(reference)
        told: dict[str, Any] = {"machine": "", "results": [], "lost": ""}
        try:
            told = self.ray.get(reference)
        except errors.TaskCancelledError:
            told["lost"] = "withdrawn"
        except errors.RayTaskError:  # our own code failed there: to try again would be to try for ever
            raise
        except errors.RayError as error:
            told["lost"] = type(error).__name__
        return {"batch": batch["batch"], **told}


def main(folder: str) -> int:
    with open(os.path.join(folder, "order.json"), encoding="utf-8") as file:
        order = json.load(file)
    os.environ.update(settings(folder))
    out = os.dup(1)
    os.dup2(2, 1)  # what Ray prints is no answer
    asked: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            asked.put(json.loads(line))
        asked.put(None)

    threading.Thread(target=listen, daemon=True).start()

    def say(answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode() + b"\n"
        while text:
            text = text[os.write(out, text) :]

    try:
        engine = Engine(order["head"])
    except (OSError, RuntimeError):  # Ray's own is a ConnectionError
        os._exit(NO_HEAD)
    say({"nodes": engine.nodes()})
    while True:
        requests: list[dict[str, Any] | None] = []
        with contextlib.suppress(queue.Empty):
            if not engine.flying:
                requests.append(asked.get(timeout=1.0))
            while True:
                requests.append(asked.get_nowait())
        for request in requests:
            if request is None:
                os._exit(0)  # nobody waits for what the workers are waiting for
            for batch in request.get("begin", ()):
                engine.begin(batch)
            if request.get("cancel"):
                engine.cancel(request["cancel"])
            if request.get("nodes"):
                say({"nodes": engine.nodes()})
        if told := engine.ended():
            say({"ended": told})
