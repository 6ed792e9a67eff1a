"""Arguments that verbs share."""

from typing import Annotated

import tyro

Target = Annotated[str, tyro.conf.Positional]
Settings = Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")]
