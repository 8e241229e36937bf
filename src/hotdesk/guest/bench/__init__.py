"""How fast this machine trains, with bands. It needs Python 3.10 and, for the networks, torch.

    python -m bench --workload all --json --seconds-max 300
    python -m bench --cmd "python train.py" --step-regex "step (\\d+)" --items-per-step 64

It runs on a desk, where hotdesk itself is not installed, so it imports nothing of it; `hotdesk bench` sends
it there in one piece (services/bench_sent.py). Networks have random weights and synthetic data that lie on
the device already; nothing is downloaded. Seconds are capped, and dollars too where the price is given.
Every rate comes with the 95 % interval of its median; a run beside which other programs kept the processor
busy, or that slowed down while it ran, says so and is not valid.
"""
