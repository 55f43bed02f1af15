"""Reconnection after repeated losses: the pauses grow."""

from __future__ import annotations

from mlq.engine.celery.connection_losses import Losses


def test_the_first_loss_costs_no_pause_and_losses_soon_after_it_growing_ones() -> None:
    """A restart of the server must not delay tasks; a revoked right must not flood the log."""
    now = 0.0
    losses = Losses(lambda: now)
    assert losses.add() == 0
    pauses: list[float] = []
    for _ in range(7):
        now += 1.0 + (pauses[-1] if pauses else 0.0)
        pauses.append(losses.add())
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10]
    now += 10 + 20
    assert losses.add() == 0, "the connection held for a while"
