"""How long AWS takes through hotdesk, beside a script that makes only the necessary calls, one after another.

    python benchmarks/aws.py

Against the fake EC2 with 20 ms of latency. Both look every 50 ms while they wait, and what takes seconds in
EC2 takes a fiftieth of that (so does the listing's lag that hotdesk allows for), so that what they add
themselves shows. Of five rounds the median is printed. The survey is of 17 regions, in a new
process; its "own time" is its processor time, importing boto3 and making 17 clients included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from fake_ec2.process import FakeEc2
from hotdesk.connect.keys import desk_keys
from hotdesk.core.model import Desk, Goal, Survey
from hotdesk.loop.clouds import Clouds
from hotdesk.loop.reconcile import Reconciler
from hotdesk.providers.aws.provider import Aws
from hotdesk.providers.aws.settings import Settings
from hotdesk.state.store import Store
from hotdesk.system import SystemClock
from tests.aws_desk import HOME, console, offer

ROOT = Path(__file__).parents[1]
LATENCY_MS = 20
POLL_SECONDS = 0.05
FASTER = 50  # what takes seconds in EC2 takes so many times less
ROUNDS = 5
DESKS = 100
VERBS = ("up", "park", "resume", "down")
GPU_IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"


class Script:
    """What a person would write with boto3: the calls in sequence, and nothing that survives a crash."""

    def __init__(self, fake: FakeEc2, public_key: str) -> None:
        self.ec2, self.ssm = fake.client("ec2", HOME), fake.client("ssm", HOME)
        self.key = public_key
        self.image = self.instance = ""

    def up(self) -> None:
        ec2 = self.ec2
        image = self.ssm.get_parameter(Name=GPU_IMAGE)["Parameter"]["Value"]
        root = ec2.describe_images(ImageIds=[image])["Images"][0]["RootDeviceName"]
        where = {"Name": "availability-zone", "Values": ["us-west-2a"]}
        self.subnet = ec2.describe_subnets(Filters=[where])["Subnets"][0]
        self.group = ec2.create_security_group(
            GroupName="script", Description="script", VpcId=self.subnet["VpcId"]
        )["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=self.group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="127.0.0.1/32"
        )
        ec2.import_key_pair(KeyName="script", PublicKeyMaterial=self.key.encode())
        disk = {"VolumeType": "gp3", "Encrypted": True, "VolumeSize": 65}
        self._run(image, BlockDeviceMappings=[{"DeviceName": root, "Ebs": disk}])

    def _run(self, image: str, **more: Any) -> None:
        made = self.ec2.run_instances(
            ImageId=image, InstanceType="g4dn.xlarge", MinCount=1, MaxCount=1, KeyName="script",
            SubnetId=self.subnet["SubnetId"], SecurityGroupIds=[self.group], **more,
        )  # fmt: skip
        self.instance = made["Instances"][0]["InstanceId"]
        self._wait("running")
        while "HOST KEY" not in self.ec2.get_console_output(InstanceId=self.instance).get("Output", ""):
            time.sleep(POLL_SECONDS)

    def _wait(self, state: str) -> None:
        while True:
            found = self.ec2.describe_instances(InstanceIds=[self.instance])["Reservations"][0]
            if found["Instances"][0]["State"]["Name"] == state:
                return
            time.sleep(POLL_SECONDS)

    def park(self) -> None:
        self._bake()
        self.ec2.terminate_instances(InstanceIds=[self.instance])

    def _bake(self) -> None:
        self.ec2.stop_instances(InstanceIds=[self.instance])
        self._wait("stopped")
        self.image = self.ec2.create_image(InstanceId=self.instance, Name="script", NoReboot=True)["ImageId"]
        while True:
            [image] = self.ec2.describe_images(ImageIds=[self.image])["Images"]
            if image["State"] == "available":
                break
            time.sleep(POLL_SECONDS)
        ids = [m["Ebs"]["SnapshotId"] for m in image["BlockDeviceMappings"] if "Ebs" in m]
        self.ec2.describe_snapshots(SnapshotIds=ids)

    def resume(self) -> None:
        self._run(self.image)

    def down(self) -> None:
        self.ec2.terminate_instances(InstanceIds=[self.instance])
        self._wait("terminated")
        self.ec2.deregister_image(ImageId=self.image, DeleteAssociatedSnapshots=True)
        self.ec2.delete_key_pair(KeyName="script")


class Careful(Script):
    """The same script, where it sees to what hotdesk promises: it finds its things, as any script has to that
    was not started by the one before; the disk stays until the image is verified and said to be; and that
    nothing is paid any more is seen."""

    MINE = ({"Name": "tag:mine", "Values": ["1"]},)

    def _run(self, image: str, **more: Any) -> None:
        disks = more.pop("BlockDeviceMappings", [{"DeviceName": "/dev/sda1", "Ebs": {}}])
        disks[0]["Ebs"]["DeleteOnTermination"] = False
        kinds = ("instance", "volume")
        tags = [{"ResourceType": kind, "Tags": [{"Key": "mine", "Value": "1"}]} for kind in kinds]
        super()._run(image, BlockDeviceMappings=disks, TagSpecifications=tags, **more)

    def _find(self) -> None:
        found = self.ec2.describe_instances(Filters=self.MINE)["Reservations"]
        alive = [i for r in found for i in r["Instances"] if i["State"]["Name"] != "terminated"]
        self.instance = alive[0]["InstanceId"] if alive else ""

    def _end(self) -> None:
        disk = {"DeviceName": "/dev/sda1", "Ebs": {"DeleteOnTermination": True}}
        self.ec2.modify_instance_attribute(InstanceId=self.instance, BlockDeviceMappings=[disk])
        self.ec2.terminate_instances(InstanceIds=[self.instance])
        self._wait("terminated")

    def park(self) -> None:
        self._find()
        self._bake()
        self.ec2.create_tags(Resources=[self.image], Tags=[{"Key": "mine", "Value": "1"}])
        self._end()

    def resume(self) -> None:
        self._find()
        assert not self.instance
        [image] = self.ec2.describe_images(Owners=["self"], Filters=self.MINE)["Images"]
        here = [{"Name": "group-name", "Values": ["script"]}]
        assert self.ec2.describe_security_groups(Filters=here)["SecurityGroups"][0]["IpPermissions"]
        self._run(image["ImageId"])

    def down(self) -> None:
        self._find()
        self._end()
        [image] = self.ec2.describe_images(Owners=["self"], Filters=self.MINE)["Images"]
        self.ec2.deregister_image(ImageId=image["ImageId"], DeleteAssociatedSnapshots=True)
        self.ec2.delete_key_pair(KeyName="script")
        assert self.ec2.describe_volumes(Filters=self.MINE)["Volumes"] == []


class Counted(Aws):
    surveys = 0

    def survey(self, regions: Sequence[str] = ()) -> Survey:
        self.surveys += 1
        return super().survey(regions)


class Loop:
    """hotdesk: the same through the journal, with a survey of 17 regions at every look."""

    def __init__(self, state: Path, one_key: bool = False) -> None:
        """`one_key`: of all desks, because a hundred good password hashes take a while."""
        self.store, clock = Store(state), SystemClock()
        desk_keys(state, "blue")
        aws = Counted(
            state,
            self.store,
            keys=lambda desk: desk_keys(state, "blue" if one_key else desk),
            clock=clock,
            settings=Settings(lag_seconds=30.0 / FASTER, poll_seconds=POLL_SECONDS),
        )
        self.aws = aws
        self.reconciler = Reconciler(
            store=self.store,
            clouds=Clouds(self.store, clock, lambda name: aws),
            clock=clock,
            prove=lambda access: None,
        )

    def want(self, goal: Goal) -> None:
        now = time.time()
        born = old.created_at if (old := self.store.find("blue")) else now
        desk = Desk(name="blue", goal=goal, since=now, created_at=born, provider="aws", offers=(offer(),))
        self.store.put(desk)
        asked = self.reconciler.settle(desk).asks
        assert not asked, asked

    def up(self) -> None:
        self.want(Goal.RUNNING)

    def park(self) -> None:
        self.want(Goal.PARKED)

    resume = up

    def down(self) -> None:
        self.want(Goal.GONE)


def boot(fake: FakeEc2, done: set[str], stop: threading.Event) -> None:
    """cloud-init's part: the host key on the console as soon as a machine runs."""
    while not stop.wait(0.05):
        for row in fake.get("things", kind="instance"):
            if row["state"] == "running" and row["id"] not in done:
                fake.post("machine", id=row["id"], console=console(row["tags"].get("hotdesk:keys", "")))
                done.add(row["id"])


def timed(fake: FakeEc2, do: Callable[[], None]) -> tuple[int, float, float]:
    """Calls to the cloud, seconds, and processor seconds of this process."""
    fake.delete("log")
    wall, own = time.perf_counter(), time.process_time()
    do()
    wall, own = time.perf_counter() - wall, time.process_time() - own
    return len(fake.get("log")), wall, own


SURVEY = """
import time, sys
wall = time.perf_counter()
from pathlib import Path
from hotdesk.providers.aws.provider import Aws
from hotdesk.system import SystemClock
aws = Aws(Path(sys.argv[1]), keys=None, clock=SystemClock())
aws.survey()
print(len(aws.account.regions()), time.perf_counter() - wall, time.process_time())
wall = time.perf_counter(); own = time.process_time()
aws.survey()
print(time.perf_counter() - wall, time.process_time() - own)
"""


Took = tuple[int, float, float]


def one_round(fake: FakeEc2, folder: Path) -> dict[str, list[Took]]:
    """A desk's day, and the scripts', on a fake as new."""
    fake.post("reset")
    fake.post("clock", pace=1 / FASTER)
    loop = Loop(folder)
    loop.aws.survey()  # clients are made; the scripts have theirs, too
    loop.aws.account.ec2_once(HOME)
    loop.aws.account.client("ssm", HOME)
    key = Path(desk_keys(folder, "blue").user_key_path + ".pub").read_text()
    took: dict[str, list[Took]] = {verb: [] for verb in VERBS}
    for who in (loop, Script(fake, key), Careful(fake, key)):
        for verb in VERBS:
            took[verb].append(timed(fake, getattr(who, verb)))
        if isinstance(who, Script):
            who.ec2.delete_security_group(GroupId=who.group)
    loop.store.close()
    return took


def median(rounds: list[Took]) -> Took:
    return rounds[0] if len(rounds) == 1 else sorted(rounds, key=lambda took: took[1])[len(rounds) // 2]


def verbs(fake: FakeEc2, folder: Path) -> None:
    stop, done = threading.Event(), set[str]()
    booting = threading.Thread(target=boot, args=(fake, done, stop))
    booting.start()
    try:
        rounds = []
        for number in range(ROUNDS):
            done.clear()  # the same ids come again
            rounds.append(one_round(fake, folder / str(number)))
    finally:
        stop.set()
        booting.join()
    print(f"{'':10}{'hotdesk':>24}{'script':>24}{'careful script':>24}")
    print(f"{'':10}" + "".join(f"{'calls':>8}{'seconds':>10}{'own s':>6}" for _ in range(3)))
    for verb in VERBS:
        all_three = [median([r[verb][who] for r in rounds]) for who in range(3)]
        print(f"{verb:10}" + "".join(f"{calls:8d}{wall:10.2f}{own:6.2f}" for calls, wall, own in all_three))


def fleet(fake: FakeEc2, folder: Path, launch_seconds: float = 0.0) -> None:
    """Many desks at once: one survey a tick, however many there are, and as many calls a survey.

    `launch_seconds`: what RunInstances takes besides; then the desks are only brought up.
    """
    fake.post("reset")
    fake.post("clock", pace=1 / FASTER)
    stop, done = threading.Event(), set[str]()
    booting = threading.Thread(target=boot, args=(fake, done, stop))
    booting.start()
    loop = Loop(folder, one_key=True)
    names = [f"desk-{number}" for number in range(DESKS)]
    goals = (Goal.RUNNING, Goal.PARKED, Goal.GONE)
    if launch_seconds:
        fake.post("delay", action="RunInstances", seconds=launch_seconds, times=DESKS)
        print(f"with {launch_seconds} s more for each RunInstances:")
    try:
        for goal in goals[:1] if launch_seconds else goals:
            now = time.time()
            born = {d.name: d.created_at for d in loop.store.desks()}
            for name in names:
                loop.store.put(
                    Desk(name=name, goal=goal, since=now, created_at=born.get(name, now), provider="aws",
                         offers=(offer(),))
                )  # fmt: skip
            fake.delete("log")
            wall, own, ticks, surveys = time.perf_counter(), time.process_time(), 0, loop.aws.surveys
            while (seconds := loop.reconciler.tick().seconds) is not None:
                ticks += 1
                time.sleep(seconds)
            wall, own = time.perf_counter() - wall, time.process_time() - own
            calls = [row["action"] for row in fake.get("log")]
            looks = sum(call == "DescribeVolumes" for call in calls) - sum(c == "CreateImage" for c in calls)
            print(
                f"{DESKS} desks {goal:8} {ticks + 1:4d} ticks, {loop.aws.surveys - surveys:4d} surveys"
                f" (DescribeVolumes: {looks}), {len(calls):5d} calls, {wall:6.1f} s, own {own:5.1f} s"
            )
    finally:
        stop.set()
        booting.join()
        loop.store.close()


def main() -> None:
    with FakeEc2(latency_ms=LATENCY_MS) as fake, tempfile.TemporaryDirectory() as folder:
        os.environ.update(fake.environment(HOME))
        verbs(fake, Path(folder))
        fleet(fake, Path(folder) / "fleet")
        fleet(fake, Path(folder) / "slow", launch_seconds=0.2)
        done = subprocess.run(
            [sys.executable, "-c", SURVEY, folder],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        first, second = (line.split() for line in done.stdout.splitlines())
        print(
            f"survey of {first[0]} regions, new process: {float(first[1]):.2f} s, own {float(first[2]):.2f} s"
        )
        print(f"survey again: {float(second[0]):.2f} s, own {float(second[1]):.2f} s")


if __name__ == "__main__":
    main()
