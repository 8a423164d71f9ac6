"""Masks as a table."""

from collections.abc import Mapping

_BAR = 20


def mask_table(counts: Mapping[str, tuple[int, int]]) -> str:
    """A table of densities.

    Args:
        counts: How many weights stay and how many there are, by name.

    Returns:
        A heading, a line for each weight, and one for all; weights of which nothing stays are marked.

    Example:
        >>> print(mask_table({"conv/kernel": (30, 40), "fc/kernel": (0, 20)}))
        weight            kept   of  density
        conv/kernel         30   40  0.7500  ###############
        fc/kernel            0   20  0.0000  nothing is left
        all                 30   60  0.5000  ##########
    """
    kept, total = (sum(column) for column in zip(*counts.values(), strict=True))
    first = max(16, *(len(name) for name in counts))
    second, third = (max(4, len(f"{count:,}")) for count in (kept, total))
    lines = [f"{'weight':<{first}} {'kept':>{second + 1}} {'of':>{third}}  density"]
    for name, (stays, size) in {**counts, "all": (kept, total)}.items():
        density = stays / size
        bar = "#" * max(1, round(_BAR * density)) if stays else "nothing is left"
        lines.append(f"{name:<{first}} {stays:>{second + 1},} {size:>{third},}  {density:.4f}  {bar}")
    return "\n".join(lines)
