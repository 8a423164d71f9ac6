from .config import DenseConfig as DenseConfig
from .config import TicketConfig as TicketConfig
from .method import TicketResult as TicketResult
from .method import run as run
from .pruning import find_ticket as find_ticket
