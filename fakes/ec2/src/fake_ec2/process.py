"""FakeEc2: the server as a child process, with its control address, for tests and benchmarks."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAFAKEFAKEFAKEFAKE",
    "AWS_SECRET_ACCESS_KEY": "fake",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def environment(*modules: str) -> dict[str, str]:
    """Ours, without an account, for a child that finds these modules where we do, installed or not."""
    found = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    places = []
    for module in modules:
        spec = importlib.util.find_spec(module.partition(".")[0])
        if spec is not None and spec.origin is not None:
            file = Path(spec.origin)
            places.append(str(file.parents[1 if file.name == "__init__.py" else 0]))
    kept = found.get("PYTHONPATH")
    return found | {"PYTHONPATH": os.pathsep.join([*dict.fromkeys(places), *([kept] if kept else [])])}


class FakeEc2:
    """`with FakeEc2(seed=1) as fake:` serves at `fake.url` until the block ends."""

    def __init__(self, seed: int = 1, latency_ms: float = 0, **options: object) -> None:
        self.arguments = ["--port", "0", "--until-eof", "--seed", str(seed), "--latency", str(latency_ms)]
        for name, value in options.items():
            self.arguments += [f"--{name}", str(value)]
        self.packages = [__package__, *([str(options["rig"])] if options.get("rig") else [])]
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        self.clients: dict[tuple[str, str, int], Any] = {}

    def __enter__(self) -> FakeEc2:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fake_ec2", *self.arguments],
            env=environment(*self.packages),
            stdin=subprocess.PIPE,  # its end tells the server that we are gone, however we went
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.process.wait(30)  # real machines need a moment to go
            raise RuntimeError(f"the fake EC2 did not start: {line!r}, exit {self.process.returncode}")
        self.url = line.split()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(180)  # real machines need a moment to go
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()

    def environment(self, region: str = "us-east-1") -> dict[str, str]:
        """What a client needs: credentials, region and the address."""
        return CREDENTIALS | {"AWS_DEFAULT_REGION": region, "AWS_ENDPOINT_URL": self.url}

    def get(self, control: str, **query: object) -> Any:
        from urllib.parse import urlencode

        return self._ask("GET", f"{control}?{urlencode(query)}" if query else control, None)

    def post(self, control: str, **fields: object) -> Any:
        return self._ask("POST", control, fields)

    def delete(self, control: str, **fields: object) -> Any:
        return self._ask("DELETE", control, fields)

    def _ask(self, method: str, control: str, fields: dict[str, object] | None) -> Any:
        body = None if fields is None else json.dumps(fields).encode()
        request = urllib.request.Request(f"{self.url}/_fake/{control}", data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as bad:
            with bad:
                raise ValueError(json.load(bad)["error"]) from None

    def client(self, service: str = "ec2", region: str = "us-east-1", retries: int = 0) -> Any:
        """An ordinary boto3 client; `retries` 0 shows every refusal."""
        if (service, region, retries) in self.clients:
            return self.clients[service, region, retries]
        import boto3
        from botocore.config import Config

        session = boto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key="fake",
            region_name=region,
        )
        config = Config(retries={"total_max_attempts": retries + 1}, read_timeout=30)
        made = session.client(service, endpoint_url=self.url, config=config)
        self.clients[service, region, retries] = made
        return made
