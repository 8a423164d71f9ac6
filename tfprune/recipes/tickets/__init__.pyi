from .dense_config import DenseConfig as DenseConfig
from .method import TicketResult as TicketResult
from .method import run as run
from .pruning import find_ticket as find_ticket
from .ticket_config import TicketConfig as TicketConfig
