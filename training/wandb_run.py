"""One wandb run of a run folder: started, continued after a kill, opened again later."""

import contextlib
import json
import netrc
import os
import re
import secrets
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lm.files import replacing

PROJECT = "ordinal"
BLOCK = 32768
"""Bytes in a block of LevelDB's log format, which offline files are in."""
HEADER = 7
"""Bytes before the first record, and before each part of a record."""


class WandbRun:
    """A wandb run that gets no step twice, however many processes log to it.

    The steps that it has are read back from its offline files, or asked of the server: wandb
    writes every 15 seconds, so that a mark of our own would count steps as recorded that a kill
    has lost.

    Args:
        folder: the run folder; all that wandb writes stays in its `wandb/`.
        run_id: of a run that may exist already; it is then continued.
        group: what the runs of one ensemble are listed under.
        job_type: `ensemble` or `member`.
        config: none, when a run is opened again: it keeps its own.
    """

    def __init__(
        self,
        folder: Path,
        run_id: str,
        *,
        name: str,
        group: str,
        job_type: str,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        import wandb

        self.id = run_id
        self._inside = folder.resolve() / "wandb"
        self._inside.mkdir(parents=True, exist_ok=True)
        with self._staging_inside():
            self._run = wandb.init(
                project=PROJECT,
                id=run_id,
                resume="allow",
                group=group,
                job_type=job_type,
                name=name,
                dir=str(folder),
                config=dict(config or {}),
                mode=_mode(),
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off", init_timeout=30),
            )
        self.offline = self._run.settings.mode == "offline"
        self.sync_dir = Path(self._run.settings.sync_dir)
        self._last = self._run.starting_step - 1

    def skip_through(self, step: int) -> None:
        """Leave out what is logged up to a step: the run has it."""
        self._last = max(self._last, step)

    def log(self, figures: Mapping[str, Any], step: int) -> None:
        """Log all figures of a step, unless the run has that step."""
        if step > self._last:
            with self._staging_inside():
                self._run.log(dict(figures), step=step)

    def log_artifact(self, name: str, kind: str, paths: Iterable[Path]) -> None:
        """Log files, and all files of folders, as one artifact."""
        import wandb

        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name), kind)
        with self._staging_inside():
            for path in paths:
                files = sorted(path.rglob("*")) if path.is_dir() else [path]
                for file in files:
                    if not file.is_dir():
                        inner = file.relative_to(path if path.is_dir() else path.parent)
                        artifact.add_file(str(file), inner.as_posix(), skip_cache=True)
            self._run.log_artifact(artifact)

    def finish(self, *, failed: bool = False) -> None:
        """End the run; what is opened again ends again."""
        self._run.finish(exit_code=int(failed))

    @contextlib.contextmanager
    def _staging_inside(self) -> Iterator[None]:
        """Artifacts and tables are staged in the run folder, not in the home folder."""
        names = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")
        before = {name: os.environ.pop(name, None) for name in names}
        os.environ.update(dict.fromkeys(names, str(self._inside)))
        try:
            yield
        finally:
            for name, value in before.items():
                del os.environ[name]
                if value is not None:
                    os.environ[name] = value


def choose_run_id(folder: Path, *, resume: bool) -> str:
    """The id of the wandb run of a training that starts now; kept in the run folder.

    Args:
        resume: keep the id of the training before, if there was one. What `WANDB_RUN_ID` says,
            which the agent of a sweep sets, goes first.

    Raises:
        OrdinalError: the run folder cannot be written to.
    """
    before = kept_run_id(folder) if resume else None
    chosen = os.environ.get("WANDB_RUN_ID") or before or secrets.token_hex(4)
    with replacing(_id_file(folder)) as partial:
        partial.write_text(json.dumps({"id": chosen}) + "\n")
    return chosen


def kept_run_id(folder: Path) -> str | None:
    """The id of the wandb run that a run folder has, if it has one."""
    try:
        return json.loads(_id_file(folder).read_text())["id"]
    except FileNotFoundError:
        return None


def mend_offline_files(folder: Path, *, besides: Path) -> dict[str, int]:
    """Cut off what a kill left half-written in a run folder's offline files.

    `wandb sync` stops at a record that is cut in two, and at a file without any: what was recorded
    after them would never be uploaded.

    Args:
        besides: the folder of the run that is being written now.

    Returns:
        The last step that is recorded of each wandb run, by its id.
    """
    last: dict[str, int] = {}
    for path in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb")):
        if path.parent.resolve() == besides.resolve():
            continue
        whole = list(_records(path))
        if not any(record.HasField("run") for record, _ in whole):
            shutil.rmtree(path.parent)
            continue
        os.truncate(path, whole[-1][1])
        run_id = path.stem.removeprefix("run-")
        steps = [record.history.step.num for record, _ in whole if record.HasField("history")]
        last[run_id] = max([last.get(run_id, -1), *steps])
    return last


def _records(path: Path) -> Iterator[tuple[Any, int]]:
    """The whole records of an offline file, each with the place where it ends."""
    from wandb.proto import wandb_internal_pb2

    data, at, record = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        left_in_block = BLOCK - at % BLOCK
        if left_in_block < HEADER:
            at += left_in_block
            continue
        _, length, part = struct.unpack_from("<IHB", data, at)
        at += HEADER + length
        if at > len(data):
            return
        record += data[at - length : at]
        if part in (1, 4):  # all of it, or the last of it
            yield wandb_internal_pb2.Record.FromString(record), at  # pyright: ignore
            record = b""


def _id_file(folder: Path) -> Path:
    return folder / "wandb" / "run.json"


def _mode() -> Any:
    """What `WANDB_MODE` says; else online with an account, offline without."""
    return os.environ.get("WANDB_MODE") or ("online" if _has_account() else "offline")


def _has_account() -> bool:
    """Whether wandb would find a key: it asks at a prompt when it finds none."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    for file in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if file and netrc.netrc(os.path.expanduser(file)).authenticators(host):
                return True
    return False
