"""What clouds that rent machines have in common. It is no cloud, imports none, and none is named here."""
