"""A fake of Alibaba Cloud's ECS, VPC and STS over real HTTP, which keeps state and its laws, and does harm.

It runs in the process of the test, in threads: `with FakeEcs() as fake` serves at `fake.url`, and a test
reads and changes `fake.world` under its lock. Clock, listener and the hooks for machines are the fake EC2's.

    wire.py      both signatures, parameters, answers      world.py   what exists, and the account
    laws.py      tokens, tags, rights, throttling, harm    server.py  one request after another
    machines.py, life.py, disks.py, images.py, network.py, market.py, account.py: the operations
"""
