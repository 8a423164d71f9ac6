"""Tables of text, all in one style.

Numbers are never cut. Where a table is too wide, its texts are wrapped, the folder of most names (`backbone/block/`) is
written once above the table, lists of names end with `and 3 more`, and long names lose their middle.
"""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Literal

WIDTH = 80
"""Characters per line where nothing else is known."""

Cell = str | Sequence[str]
"""A text, or the names of a list."""

_GAP = "  "
_CUT = "…"
_FOLDER = f"{_CUT}/"
_READABLE = 9  # characters of the one name of a list that is shown at least
_LEAST = {"text": 24, "list": 12, "name": 16}  # characters that a column gets at least; the first ones give way first


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        kind: `number` (to the right, never cut), `name` (shortened in its middle; a cell may be a list of names) or
            `text` (wrapped).
    """

    title: str
    kind: Literal["number", "name", "text"] = "number"


def make_table(
    columns: Sequence[Column], rows: Iterable[Sequence[Cell] | None], *, width: int = WIDTH, indent: int = 2
) -> str:
    """Returns a table as text. Columns without a heading and without content are left out.

    Args:
        columns: The columns.
        rows: Their cells, row by row; None for a line between two sections.
        width: Characters per line. A line is longer only if its numbers are.
        indent: Blanks before each line.

    Returns:
        The lines, joined, with the headings first unless all are empty.

    Example:
        >>> rows = [("conv_of_the_first_block", "8", "a sum with conv_3 needs all of them"), None, ("all", "8", "")]
        >>> print(make_table([Column("layer", "name"), Column("width"), Column("why", "text")], rows, width=53))
          layer               width  why
          conv_of_t…st_block      8  a sum with conv_3 needs
                                     all of them
          ---------------------------------------------------
          all                     8
    """
    body = [None if row is None else list(row) for row in rows]
    there = [at for at, column in enumerate(columns) if column.title or any(row[at] for row in body if row is not None)]
    columns = [columns[at] for at in there]
    cells = [None if row is None else [row[at] for at in there] for row in body]
    natural = _widths(columns, cells)
    room = width - indent - len(_GAP) * (len(columns) - 1)
    above = []
    if sum(natural) > room and (folder := _folder(columns, cells)):
        cells = [row and _without(folder, columns, row) for row in cells]
        natural = _widths(columns, cells)
        above = [f"{_FOLDER} is {folder}"]
    widths = _fitted(columns, cells, natural, room)
    shorter = [
        _shortened([cell for row in cells if row and isinstance(cell := row[at], str)], size)
        if column.kind == "name"
        else {}
        for at, (column, size) in enumerate(zip(columns, widths, strict=True))
    ]
    heading = [[column.title for column in columns]] if any(column.title for column in columns) else []
    lines = list(above)
    for row in (*heading, *cells):
        if row is None:
            lines.append("-" * (sum(widths) + len(_GAP) * (len(columns) - 1)))
            continue
        pieces = [_lines(*each) for each in zip(columns, row, widths, shorter, strict=True)]
        for at in range(max(map(len, pieces))):
            parts = [each[at] if at < len(each) else "" for each in pieces]
            lines.append(_GAP.join(_padded(*each) for each in zip(columns, parts, widths, strict=True)).rstrip())
    return "\n".join(" " * indent + line for line in lines)


def make_grid(
    titles: tuple[str, str, str], columns: Sequence[str], lines: Mapping[str, Mapping[str, str]], *, width: int = WIDTH
) -> str:
    """Returns a table of values by two names: a row and a column for each, or a row for both where room is short.

    Args:
        titles: What the names of rows and columns, and the values, are.
        columns: Names of the columns.
        lines: Values by names of row and column; `-` stands for those that are missing.
        width: Characters per line.

    Example:
        >>> print(make_grid(("ticket", "check", "accuracy"), ["original", "inverse"], {"snip": {"original": "90.1"}}))
        ticket  original  inverse
        snip        90.1        -
    """
    first, second, value = titles
    rows = [(name, *(cells.get(column, "-") for column in columns)) for name, cells in lines.items()]
    table = make_table([Column(first, "name"), *map(Column, columns)], rows, width=width, indent=0)
    if max(map(len, table.splitlines())) <= width:
        return table
    pairs = [(name, column, cells[column]) for name, cells in lines.items() for column in columns if column in cells]
    return make_table([Column(first, "name"), Column(second, "name"), Column(value)], pairs, width=width, indent=0)


def shortened(name: str, width: int) -> str:
    """Returns a name with both of its ends and at most so many characters.

    Example:
        >>> shortened("block_16_project_BN", 13)
        'block_…ect_BN'
    """
    return _shortened({name}, width)[name]


def paragraph(text: str, *, width: int = WIDTH, indent: int = 0, hanging: int = 0) -> str:
    """Returns a text in lines of at most so many characters.

    Args:
        text: The text.
        width: Characters per line.
        indent: Blanks before each line.
        hanging: Further blanks before all lines but the first.
    """
    first, later = " " * indent, " " * (indent + hanging)
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False, break_long_words=False
    )


def listed(names: Sequence[str], shown: int | None = 3, *, separator: str = ", ") -> str:
    """Returns the first names of a list, and how many more there are.

    Args:
        names: The names.
        shown: How many of them to show; None for all.
        separator: What stands between two of them; `; ` also before the last "and", for clauses.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    more = len(names) - len(names[:shown])
    end = " " if separator == ", " else separator
    return separator.join(names[:shown]) + (f"{end}and {more} more" if more else "")


def count(number: int, noun: str) -> str:
    """Returns a number with its noun, in the plural if it is not 1.

    Example:
        >>> count(1, "epoch"), count(1200, "epoch")
        ('1 epoch', '1,200 epochs')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else ", ".join(cell)


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[Cell] | None]) -> list[int]:
    return [
        max([len(column.title), *(len(_text(row[at])) for row in cells if row is not None)])
        for at, column in enumerate(columns)
    ]


def _folder(columns: Sequence[Column], cells: Sequence[Sequence[Cell] | None]) -> str:
    """Returns the folder, such as `backbone/`, that most names of a table have in common; empty if there is none."""
    found: set[str] = set()
    for column, *values in zip(columns, *(row for row in cells if row is not None), strict=True):
        if column.kind == "name":
            found.update(name for cell in values for name in ([cell] if isinstance(cell, str) else cell) if name)
    first = Counter(name.partition("/")[0] for name in found if "/" in name).most_common(1)
    inside = [name for name in found if first and name.startswith(f"{first[0][0]}/")]
    head, slash, _ = commonprefix(inside).rpartition("/")  # noqa: RUF071  (what follows the slash is dropped)
    return head + slash if len(inside) > max(1, len(found) // 2) and len(head) >= len(_FOLDER) else ""


def _without(folder: str, columns: Sequence[Column], row: Sequence[Cell]) -> list[Cell]:
    """Returns a row whose names are shown without the folder."""

    def short(name: str) -> str:
        return _FOLDER + name.removeprefix(folder) if name.startswith(folder) else name

    def cut(cell: Cell) -> Cell:
        return short(cell) if isinstance(cell, str) else [short(name) for name in cell]

    return [cut(cell) if column.kind == "name" else cell for column, cell in zip(columns, row, strict=True)]


def _fitted(
    columns: Sequence[Column], cells: Sequence[Sequence[Cell] | None], natural: Sequence[int], room: int
) -> list[int]:
    """Returns the widths of the columns: texts give way first, then lists of names, then the widest names."""
    widths = list(natural)
    kinds = [
        "list" if any(row is not None and not isinstance(row[at], str) for row in cells) else column.kind
        for at, column in enumerate(columns)
    ]
    for kind, least in _LEAST.items():
        there = [at for at, each in enumerate(kinds) if each == kind]
        while sum(widths) > room and there:
            widest = max(there, key=lambda at: widths[at])
            if widths[widest] <= max(least, len(columns[widest].title)):
                break
            widths[widest] -= 1
    return widths


def _shortened(names: Iterable[str], width: int) -> dict[str, str]:
    """Returns names of at most so many characters, with as many of both ends; different names stay different."""
    names = set(names)
    if all(len(name) <= width for name in names):
        return {name: name for name in names}
    middle = width // 2
    found = {}
    for head in sorted(range(1, max(2, width - 1)), key=lambda head: abs(head - middle)):
        tail = max(1, width - len(_CUT) - head)
        found = {name: name if len(name) <= width else name[:head] + _CUT + name[-tail:] for name in names}
        if len(set(found.values())) == len(names):
            return found
    return found


def _lines(column: Column, cell: Cell, width: int, shorter: Mapping[str, str]) -> list[str]:
    """Returns the lines of a cell."""
    if column.kind == "text":
        return textwrap.wrap(_text(cell), max(1, width), break_on_hyphens=False) or [""]
    if isinstance(cell, str):
        return [shorter.get(cell, cell)]
    names = list(cell)
    for shown in range(len(names), 0, -1):
        rest = len(names) - shown
        text = ", ".join(names[:shown]) + (f" and {rest} more" if rest else "")
        if len(text) <= width:
            return [text]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    if names and (not more or width - len(more) >= _READABLE):
        return [shortened(names[0], width - len(more)) + more]
    return [count(len(names), "layer") if names else ""]


def _padded(column: Column, text: str, width: int) -> str:
    return f"{text:>{width}}" if column.kind == "number" else f"{text:<{width}}"
