"""How small a packed ticket is, beside its .keras file, float32 and what information theory asks for.

    python benchmarks/packed_size.py --arch Conv4 --density 0.8 0.5 0.2 0.1 0.05

The networks are as drawn: which weights a ticket keeps says nothing about how many bytes that takes, how many it keeps
does. The last column is the least that independent choices of so many weights, and their signs, need.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from program import new_parser

from tfprune.exporting import export_packed, plain_model, save_model
from tfprune.graph import convert
from tfprune.recipes.models import build_model


def sizes(arch: str, density: float, folder: Path) -> dict[str, int]:
    """Bytes of the packed file, the plain network's `.keras` file, its weights in float32, and the bound."""
    dense = build_model(
        arch, num_classes=10, input_shape=(32, 32, 3), seed=0, batch_norm="fixed", classifier_bias=False
    )
    ticket = convert(dense, "subnet", options={"density": density, "seed": 0})
    packed = export_packed(ticket, folder / "ticket.mpt")
    save_model(plain_model(ticket), folder / "ticket.keras")
    keras_file = (folder / "ticket.keras").stat().st_size
    return {"packed": packed.file, "keras": keras_file, "float32": packed.float32, "least": packed.least}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--arch", default="Conv4")
    parser.add_argument("--density", type=float, nargs="+", default=[0.8, 0.5, 0.2, 0.1, 0.05])
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row per density."""
    options = make_parser().parse_args(arguments)
    print("| density | packed, bytes | `.keras` file / packed | float32 / packed | packed / least |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for density in options.density:
            found = sizes(options.arch, density, Path(folder))
            packed = found["packed"]
            print(
                f"| {density:g} | {packed:,} | {found['keras'] / packed:.1f} | {found['float32'] / packed:.1f} | "
                f"{packed / found['least']:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
