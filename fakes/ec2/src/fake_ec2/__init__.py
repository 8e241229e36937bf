"""A fake EC2 to test against: moto's server over real HTTP, with the corrections that matter.

Networks, keys, groups, launch templates, STS and the catalogue are moto's. Machines, disks, snapshots,
images, spot, quotas, prices and parameters are ours (one file per noun), because what moto has there is too
far from what EC2 does: see README.md beside `src`. Start it with
`python -m fake_ec2`, or from a test with `fake_ec2.process.FakeEc2`.
"""
