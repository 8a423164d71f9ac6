"""Pages of the documentation with a part that a program writes; the text around it is written by hand and stays."""

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
_END = "<!-- end of what the program writes -->"


def written_part(page: str, program: str) -> str:
    """Returns the part of a page that a program writes, without the marks around it.

    Args:
        page: The text of the page.
        program: File of the program, such as `scopes.py`.
    """
    return _split(page, program)[1].strip()


def with_part(page: str, program: str, part: str) -> str:
    """Replaces the part of a page that a program writes.

    Args:
        page: The text of the page.
        program: File of the program.
        part: The new part.

    Returns:
        The new text of the page.

    Raises:
        ValueError: The page does not say where the part begins.
    """
    before, _, after = _split(page, program)
    return f"{before}{_begin(program)}\n\n{part.strip()}\n\n{_END}{after}"


def rewrite(path: Path, program: str, part: str) -> None:
    """Writes a part into the file of a page, see `with_part`."""
    path.write_text(with_part(path.read_text(encoding="utf-8"), program, part), encoding="utf-8")


def _split(page: str, program: str) -> tuple[str, str, str]:
    """Returns what is before, within and after the part; all that follows is within where no end is marked."""
    before, mark, rest = page.partition(_begin(program))
    if not mark:
        raise ValueError(f"expected the line {_begin(program)} in the page; add it where the part begins")
    part, _, after = rest.partition(_END)
    return before, part, after


def _begin(program: str) -> str:
    return f"<!-- written by benchmarks/{program} -->"
