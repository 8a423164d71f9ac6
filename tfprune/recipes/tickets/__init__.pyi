from .dense_config import DenseConfig as DenseConfig
from .find_ticket import find_ticket as find_ticket
from .pipeline import TicketResult as TicketResult
from .pipeline import run as run
from .ticket_config import TicketConfig as TicketConfig
