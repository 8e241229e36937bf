"""How long nothing has worked at a desk."""

from __future__ import annotations

from hotdesk.core.model import Value


class Idle(Value, frozen=True):
    """How long nothing has worked at a desk, as the watch there saw it at its last look (guest/idle.py)."""

    seconds: float
    age_seconds: float = 0.0  # since that look

    @classmethod
    def read(cls, worked_at: float, looked_at: float, now: float) -> Idle | None:
        """From times of one clock; None where nobody has looked yet."""
        if not looked_at:
            return None
        return cls(seconds=max(0.0, looked_at - worked_at), age_seconds=max(0.0, now - looked_at))
