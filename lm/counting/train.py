"""Train the embedded model `counting` again: `python -m lm.counting.train --out DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from lm.errors import OrdinalError, UsageError


def main(out: Path = Path("runs/counting-lm"), seed: int = 0, twin: bool = False) -> None:
    """Train the embedded model and write it as a Hugging Face folder, in ten minutes on one core.

    Example: python -m lm.counting.train --seed 1 --out runs/counting-seed1

    Args:
        out: Folder to write. A model that is there already is replaced.
        seed: Seed of the corpus, of the first weights and of what is skipped while training.
        twin: Leave out every statement about digits, tens and units.
    """
    if seed < 0:
        raise UsageError(f"--seed {seed}: expected 0 or more")
    if out.exists() and not (out / "config.json").exists():
        raise UsageError(f"--out {out}: expected a new folder, or one with a model to replace")

    from lm.counting.recipe import train, write

    write(train(seed, twin), out)
    print(f"wrote {out}")


if __name__ == "__main__":
    try:
        tyro.cli(main, prog="python -m lm.counting.train")
    except OrdinalError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
