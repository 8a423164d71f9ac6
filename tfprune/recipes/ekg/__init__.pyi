from .config import EKGConfig as EKGConfig
from .knowledge_loss import KnowledgeObjective as KnowledgeObjective
from .memory_bank import MemoryBank as MemoryBank
from .method import EKGResult as EKGResult
from .method import run as run

def __getattr__(name: str): ...  # type: ignore[no-untyped-def]  # the names of tfprune.search
