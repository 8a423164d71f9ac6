"""Tickets before training, their sanity checks, and dense training (Su et al., NeurIPS 2020)."""

from tfprune.lazy import lazy_exports

_EXPORTS = {
    "DenseConfig": "tfprune.methods.tickets.dense_config",
    "TicketConfig": "tfprune.methods.tickets.ticket_config",
    "TicketResult": "tfprune.methods.tickets.pipeline",
    "find_ticket": "tfprune.methods.tickets.find_ticket",
    "run": "tfprune.methods.tickets.pipeline",
}

__all__ = sorted(_EXPORTS)
__getattr__ = lazy_exports(__name__, _EXPORTS)
