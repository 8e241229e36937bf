"""Cloud Assistant: a script that is sent to a machine, run as root there, and its output.

The script runs for real, in this computer's shell, with folders of its own in place of the machine's.
"""

from __future__ import annotations

import base64
import binascii
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.fake_ecs import laws, life
from tests.fake_ecs.laws import ECS, Answer, operation
from tests.fake_ecs.wire import Call, Problem, second
from tests.fake_ecs.world import Machine, World

SCRIPT_BYTES = 24 * 1024  # in base64
NO_AGENT = "ClientNotRunning"


@operation(ECS, tokens=True)
def run_command(world: World, call: Call) -> Answer:
    call.need("RegionId", "Type", "CommandContent")
    if call.get("Type") != "RunShellScript":
        raise Problem("InvalidParameter.Type", "The specified Type is not valid for these instances.")
    content = call.get("CommandContent")
    if call.get("ContentEncoding", "PlainText").lower() == "base64":
        try:
            script = base64.b64decode(content, validate=True).decode()
        except (binascii.Error, ValueError):
            raise Problem("InvalidParameter.CommandContent", "CommandContent is no base64.") from None
    else:
        script, content = content, base64.b64encode(content.encode()).decode()
    if len(content) > SCRIPT_BYTES:
        raise Problem("CmdContent.ExceedLimit", "The length of the command content exceeds the limit.", 403)
    if not (ids := call.many("InstanceId")):
        raise Problem("MissingParameter.InstanceId", "An instance is needed.")
    machines = [world.machine(call.region, id_) for id_ in ids]
    if any(machine.status != "Running" for machine in machines):
        raise Problem("InstanceNotRunning", "The specified instance is not in the Running state.", 403)
    laws.check_tags(call.tags)
    invocation, command = world.new_id("t"), world.new_id("c")
    for machine in machines:
        row = {
            "InvokeId": invocation,
            "CommandId": command,
            "InstanceId": machine.id,
            "InvocationStatus": "Pending",
            "InvokeRecordStatus": "Running",
            "Username": call.get("Username", "root"),
            "StartTime": second(world.clock.now()),
            "Repeats": 0,
            "Output": "",
            "Tags": laws.tag_list(call.tags),
        }
        held = {"region": call.region, "tags": call.tags, "row": row}
        world.commands.append(held)
        _begin(world, machine, row, script, int(call.get("Timeout") or 60))
    return {"InvokeId": invocation, "CommandId": command}


def _begin(world: World, machine: Machine, row: dict[str, Any], script: str, limit: int) -> None:
    epoch = machine.epoch

    def finish() -> None:
        if world.assistant or machine.epoch != epoch:
            code = world.assistant or "InstanceNotRunning"
            row.update(
                InvocationStatus="Failed" if code != NO_AGENT else "Invalid",
                InvokeRecordStatus="Failed",
                ErrorCode=code,
                ErrorInfo=f"the agent on the instance does not answer ({machine.id})",
            )
            return
        done = _run(world, machine, script, limit)
        worked = done.returncode == 0
        row.update(
            InvocationStatus="Success" if worked else "Failed",
            InvokeRecordStatus="Finished" if worked else "Failed",
            ExitCode=done.returncode,
            Output=base64.b64encode(done.stdout[-SCRIPT_BYTES:].encode()).decode(),
            FinishedTime=second(world.clock.now()),
            Repeats=1,
        )
        if not worked:
            row.update(ErrorCode="ExitCodeNonzero", ErrorInfo="The exit code of the command is not 0.")

    world.clock.after(world.clock.takes("command"), finish)


def _run(world: World, machine: Machine, script: str, limit: int) -> subprocess.CompletedProcess[str]:
    """In folders as the machine has them: its host keys, and cloud-init's marks of what it has done."""
    with tempfile.TemporaryDirectory(prefix="hotdesk-assistant-") as folder:
        ssh, cloud = Path(folder, "etc/ssh"), Path(folder, "var/lib/cloud")
        marks = cloud / "instances" / machine.id / "sem"
        for made in (ssh, marks):
            made.mkdir(parents=True)
        for key in life.host_keys(world, machine):
            kind = key.split()[0].removeprefix("ssh-").partition("-")[0]
            (ssh / f"ssh_host_{kind}_key.pub").write_text(f"{key} root@host\n")
        (marks / "config_ssh").touch()
        script = script.replace("/etc/ssh/", f"{ssh}/").replace("/var/lib/cloud/", f"{cloud}/")
        return subprocess.run(
            ["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, timeout=limit, check=False,
        )  # fmt: skip


@operation(ECS)
def describe_invocation_results(world: World, call: Call) -> Answer:
    call.need("RegionId")
    rows = []
    for held in world.commands:
        row, asked = held["row"], call.params.get("Tag") or []
        if held["region"] != call.region or any(
            held["tags"].get(tag["Key"]) != tag.get("Value", held["tags"].get(tag["Key"])) for tag in asked
        ):
            continue
        if all(call.get(name) in {"", row[name]} for name in ("InstanceId", "InvokeId", "CommandId")):
            plain = call.get("ContentEncoding", "Base64").lower() == "plaintext"
            output = base64.b64decode(row["Output"]).decode() if plain else row["Output"]
            rows.append({**row, "Output": output})
    page, more = laws.token_page(call, rows, most=50)
    return {"Invocation": {"InvocationResults": {"InvocationResult": page}, "TotalCount": len(rows), **more}}
