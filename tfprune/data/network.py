"""Whether a server answers: asked before a download, which would wait for minutes on a dead network."""

import threading
import urllib.error
import urllib.request


def answers(url: str, seconds: float) -> bool:
    """Whether anything answers at this address within a time, whatever it answers.

    Proxies of the environment are used. The question is put in a thread of its own, as the look-up of a name cannot
    be given a time limit.

    Args:
        url: Address to ask for.
        seconds: How long to wait at most.

    Returns:
        Whether there was an answer, be it an error page.
    """
    heard = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                heard.set()
        except urllib.error.HTTPError:
            heard.set()
        except (OSError, ValueError):
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return heard.is_set()
