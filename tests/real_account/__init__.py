"""One day on a real account under a spend cap, and what it shows of the fake EC2."""
