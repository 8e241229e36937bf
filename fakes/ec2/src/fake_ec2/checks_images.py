"""Disks and images: of the real volumes, with their tags, under one name, gone when they are to go."""

from __future__ import annotations

from fake_ec2.checks import TAGS, Cloud, check, refused, root, specs


@check(moto="None MiB/s")
def gp3_keeps_its_speed(cloud: Cloud) -> None:
    instance_id = cloud.running(BlockDeviceMappings=root(100, Iops=4000, Throughput=300, Encrypted=True))
    query = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    volume = cloud.ec2.describe_volumes(Filters=query)["Volumes"][0]
    found = (volume["Size"], volume["Iops"], volume.get("Throughput"), volume["Encrypted"])
    assert found == (100, 4000, 300, True), f"{found[0]} GiB, {found[1]} iops, {found[2]} MiB/s"


@check(moto="HTTP 500")
def images_hold_the_real_disks(cloud: Cloud) -> None:
    instance_id = cloud.stopped(BlockDeviceMappings=root(90, Encrypted=True))
    made = cloud.ec2.create_image(
        InstanceId=instance_id,
        Name=f"real-{next(cloud.numbers)}",
        TagSpecifications=specs("image", "snapshot"),
    )["ImageId"]
    image = cloud.ec2.describe_images(ImageIds=[made])["Images"][0]
    assert image["State"] == "pending"
    assert image["Tags"] == TAGS
    snapshot_id = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    cloud.pass_time(10)
    snapshot = cloud.ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]
    assert snapshot["State"] == "pending"
    assert 0 < int(snapshot["Progress"].rstrip("%")) < 100
    cloud.pass_time(3600)
    image = cloud.ec2.describe_images(ImageIds=[made])["Images"][0]
    snapshot = cloud.ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]
    volume = cloud.machine(instance_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert image["State"] == "available"
    assert image["SourceInstanceId"] == instance_id
    assert snapshot["State"] == "completed"
    assert snapshot["VolumeId"] == volume
    assert snapshot["Tags"] == TAGS
    assert (snapshot["VolumeSize"], snapshot["Encrypted"]) == (90, True)


@check(moto="8 GiB from None")
def a_baked_image_brings_its_disk(cloud: Cloud) -> None:
    image = cloud.baked(BlockDeviceMappings=root(80))
    snapshot = cloud.ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"][
        "SnapshotId"
    ]
    instance_id = cloud.running(ImageId=image, InstanceType="g6.xlarge")
    query = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    volume = cloud.ec2.describe_volumes(Filters=query)["Volumes"][0]
    found = (volume["Size"], volume.get("SnapshotId"))
    assert found == (80, snapshot), f"{found[0]} GiB from {found[1]}"


@check(moto="not refused")
def image_names_are_unique(cloud: Cloud) -> None:
    instance_id = cloud.stopped()
    cloud.ec2.create_image(InstanceId=instance_id, Name="the-one", NoReboot=True)
    again = {"InstanceId": instance_id, "Name": "the-one", "NoReboot": True}
    refused(lambda: cloud.ec2.create_image(**again), "InvalidAMIName.Duplicate")


@check(moto="not refused")
def no_image_of_a_terminated_machine(cloud: Cloud) -> None:
    instance_id = cloud.running()
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.pass_time(60)
    refused(lambda: cloud.ec2.create_image(InstanceId=instance_id, Name="too-late"), "IncorrectInstanceState")


@check(moto="still there")
def deregistering_can_take_the_snapshots(cloud: Cloud) -> None:
    image = cloud.baked()
    snapshot = cloud.ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"][
        "SnapshotId"
    ]
    refused(lambda: cloud.ec2.delete_snapshot(SnapshotId=snapshot), "InvalidSnapshot.InUse")
    cloud.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
    cloud.pass_time(60)
    left = cloud.ec2.describe_snapshots(Filters=[{"Name": "snapshot-id", "Values": [snapshot]}])["Snapshots"]
    assert not left, "its snapshot is still there"


@check(moto="Architecture None")
def a_registered_image_is_what_was_said(cloud: Cloud) -> None:
    """Parking a spot machine: terminate, keep the disk, snapshot it, register."""
    keep = root(70, DeleteOnTermination=False)
    instance_id = cloud.running(InstanceMarketOptions={"MarketType": "spot"}, BlockDeviceMappings=keep)
    volume = cloud.machine(instance_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.pass_time(60)
    assert cloud.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available"
    snapshot = cloud.ec2.create_snapshot(VolumeId=volume, TagSpecifications=specs("snapshot"))["SnapshotId"]
    cloud.pass_time(3600)
    image = cloud.ec2.register_image(
        Name=f"spot-{next(cloud.numbers)}",
        Architecture="x86_64",
        RootDeviceName="/dev/sda1",
        VirtualizationType="hvm",
        EnaSupport=True,
        BlockDeviceMappings=[
            {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3"}}
        ],
        TagSpecifications=specs("image"),
    )["ImageId"]
    cloud.pass_time(60)
    found = cloud.ec2.describe_images(ImageIds=[image])["Images"][0]
    assert found.get("Architecture") == "x86_64", f"Architecture {found.get('Architecture')}"
    assert found["State"] == "available"
    assert found["Tags"] == TAGS
    ebs = found["BlockDeviceMappings"][0]["Ebs"]
    assert (ebs["SnapshotId"], ebs["VolumeSize"]) == (snapshot, 70)
    refused(lambda: cloud.ec2.delete_snapshot(SnapshotId=snapshot), "InvalidSnapshot.InUse")


@check(moto="two copies")
def a_copied_image_has_a_token(cloud: Cloud) -> None:
    image = cloud.baked()
    there = cloud.client("ec2", "us-west-2")
    order = {
        "Name": f"copy-of-{image}",
        "SourceImageId": image,
        "SourceRegion": cloud.region,
        "ClientToken": image,
    }
    first, second = (there.copy_image(**order)["ImageId"] for _ in range(2))
    assert first == second, "two copies for one token"
    assert there.describe_images(ImageIds=[first])["Images"][0]["State"] == "pending"
    cloud.pass_time(3600)
    copied = there.describe_images(ImageIds=[first])["Images"][0]
    assert copied["State"] == "available"
    assert copied["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
