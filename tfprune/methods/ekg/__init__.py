"""EKG: Ensemble Knowledge Guided sub-network search and fine-tuning for filter pruning (Lee & Song, ECCV 2022)."""

from tfprune.methods.ekg.config import EKGConfig
from tfprune.methods.ekg.knowledge_loss import KnowledgeObjective
from tfprune.methods.ekg.search import Search, SearchResult, SearchState
from tfprune.methods.ekg.subnetworks import SubNetworks

__all__ = ["EKGConfig", "KnowledgeObjective", "Search", "SearchResult", "SearchState", "SubNetworks"]
