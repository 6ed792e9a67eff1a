"""The command line: the steps of the method, and what people look at and take away."""

import os
import sys

import tyro

from lm.errors import OrdinalError
from ordinal.verbs.steps import features, heads, report, run, train, verify
from ordinal.verbs.studies import baselines, bench, checkpoints, compare, sweep
from ordinal.verbs.taking import export

STEPS = (run, heads, train, features, verify, report)
STUDIES = (sweep, baselines, compare, checkpoints, bench)
VERBS = {verb.__name__: verb for verb in (*STEPS, export, *STUDIES)}


def main() -> None:
    """Entry point: every expected error is one line; a traceback comes with --debug alone."""
    # On a shared machine, threads that spin while they wait make small products 3x slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        tyro.extras.subcommand_cli_from_dict(
            VERBS,
            prog="ordinal",
            description="Find the number features of a language model, prove that they are causal, "
            "and take them away for editing. Start with: ordinal run",
            args=arguments,
        )
    except OrdinalError as error:
        if debug:
            raise
        sys.exit(_fail(str(error), error.exit_code))
    except KeyboardInterrupt:
        sys.exit(_fail("Stopped. Finished steps are kept; type the same again to go on.", 130))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        message = " ".join(f"{type(error).__name__}: {error}".split())
        sys.exit(_fail(f"{message} (not expected; --debug shows where)", 1))


def _fail(message: str, code: int) -> int:
    print(f"ordinal: {message}", file=sys.stderr)
    return code
