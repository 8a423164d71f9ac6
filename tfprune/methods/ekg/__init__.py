"""EKG: Ensemble Knowledge Guided sub-network search and fine-tuning for filter pruning (Lee & Song, ECCV 2022)."""

from tfprune.lazy import lazy_exports

_EXPORTS = {
    "EKGConfig": "tfprune.methods.ekg.config",
    "EKGResult": "tfprune.methods.ekg.pipeline",
    "KnowledgeObjective": "tfprune.methods.ekg.knowledge_loss",
    "MemoryBank": "tfprune.methods.ekg.memory_bank",
    "Search": "tfprune.methods.ekg.greedy_search",
    "SearchResult": "tfprune.methods.ekg.search_state",
    "SearchState": "tfprune.methods.ekg.search_state",
    "SubNetworks": "tfprune.methods.ekg.subnetworks",
    "Supernet": "tfprune.methods.ekg.supernet",
    "search": "tfprune.methods.ekg.any_model",
    "run": "tfprune.methods.ekg.pipeline",
}

__all__ = sorted(_EXPORTS)
__getattr__ = lazy_exports(__name__, _EXPORTS)
