"""Members side by side, one process and one thread each.

A step is bound by products too small to share between threads, so whole members are what runs in
parallel. The processes are started afresh rather than by `multiprocessing`, which would run the
caller's script again in each of them. The tokens lie in files that all processes map; what goes
down a pipe is JSON and safetensors: where they lie, the members' metrics, the finished SAEs.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from lm.errors import OrdinalError
from sae.architectures import INFERENCE
from sae.autoencoder import SAE
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.inputs import Inputs
from training.loop import Group, Stopped, fit_group
from training.metrics import MemberMetrics

Message = list[MemberMetrics] | list[SAE]

# Ctrl-C reaches the whole process group; the parent alone answers it.
_START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from training.workers import serve; serve(int(sys.argv[1]))"
)


@dataclass(frozen=True)
class Task:
    """A group to fit, where, and where its checkpoint goes."""

    group: Group
    device: str
    checkpoints: Checkpoints


def available_cpus() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fit_tasks(tasks: Sequence[Task], workers: int) -> Generator[tuple[Sequence[int], Message]]:
    """Fit all groups: yields their members, with metrics or finished SAEs, as they come.

    Closing the iterator, or any error, ends the processes; each leaves its checkpoint.

    Raises:
        OrdinalError: a member diverged, or a process died.
    """
    if workers == 1 or len(tasks) == 1 or os.name == "nt":  # Windows cannot hand over a pipe
        for task in tasks:
            for message in _in_this_process(task):
                yield task.group.members, message
        return
    with tempfile.TemporaryDirectory(prefix="ordinal-") as folder:
        yield from _in_processes(tasks, workers, Path(folder))


def _in_processes(
    tasks: Sequence[Task], workers: int, folder: Path
) -> Generator[tuple[Sequence[int], Message]]:
    folds = {id(fold): fold for task in tasks for fold in task.group.inputs}
    files = {key: folder / f"{i}.safetensors" for i, key in enumerate(folds)}
    for key, fold in folds.items():
        fold.save(files[key])
    waiting = list(tasks)[::-1]
    running: dict[Connection, Task] = {}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(min(workers, len(tasks))):
            ours, theirs = Pipe()
            with theirs:
                processes.append(_start(theirs))
            running[ours] = waiting.pop()
            _send_task(ours, running[ours], files)
        while running:
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                message = _receive(pipe)
                yield running[pipe].group.members, message
                if isinstance(message[0], SAE):
                    del running[pipe]
                    if waiting:
                        running[pipe] = waiting.pop()
                        _send_task(pipe, running[pipe], files)
                    else:
                        pipe.close()
    finally:
        for pipe in running:
            pipe.close()
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _in_this_process(task: Task) -> Iterator[Message]:
    """On one thread: the order of additions, so the result, hangs on their number."""
    threads = torch.get_num_threads()
    with (
        _caught(signal.SIGINT) as stop,
        contextlib.closing(fit_group(task.group, task.device, task.checkpoints, stop)) as messages,
    ):
        while True:
            torch.set_num_threads(1)
            try:
                message = next(messages)
            except StopIteration:
                return
            except Stopped:
                raise KeyboardInterrupt from None
            finally:
                torch.set_num_threads(threads)
            yield message


@contextlib.contextmanager
def _caught(number: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Hold a signal back until the end of a step; asks whether it came."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # no other may
        yield came.is_set
        return
    before = signal.signal(number, lambda *_: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(number, before)


def _start(pipe: Connection) -> subprocess.Popen[bytes]:
    paths = [path or os.getcwd() for path in sys.path]
    return subprocess.Popen(
        [sys.executable, "-c", _START, str(pipe.fileno())],
        pass_fds=[pipe.fileno()],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
    )


def _send_task(pipe: Connection, task: Task, files: dict[int, Path]) -> None:
    about = {
        "members": list(task.group.members),
        "inputs": [str(files[id(fold)]) for fold in task.group.inputs],
        "config": task.group.config.model_dump(),
        "device": task.device,
        "checkpoint": str(task.checkpoints.path or ""),
        "identity": task.checkpoints.identity,
        "every": task.checkpoints.every,
    }
    with contextlib.suppress(ConnectionError):  # its end shows when it is read from
        pipe.send_bytes(json.dumps(about).encode())


def _receive_task(pipe: Connection) -> Task:
    about = json.loads(pipe.recv_bytes())
    group = Group(
        about["members"],
        [Inputs.load(Path(file)) for file in about["inputs"]],
        TrainConfig.model_validate(about["config"]),
    )
    path = Path(about["checkpoint"]) if about["checkpoint"] else None
    return Task(group, about["device"], Checkpoints(path, about["identity"], about["every"]))


def _send(pipe: Connection, message: Message | OrdinalError) -> None:
    if isinstance(message, OrdinalError):
        pipe.send_bytes(json.dumps({"error": str(message)}).encode())
        return
    metrics = [one for one in message if isinstance(one, MemberMetrics)]
    saes = [one for one in message if isinstance(one, SAE)]
    kinds = [
        {"kind": type(sae).__name__}
        | {name: value for name, value in vars(sae).items() if not isinstance(value, Tensor)}
        for sae in saes
    ]
    pipe.send_bytes(json.dumps({"metrics": metrics, "saes": kinds}).encode())
    for sae in saes:
        pipe.send_bytes(save(sae.tensors()))


def _receive(pipe: Connection) -> Message:
    try:
        about = json.loads(pipe.recv_bytes())
        weights = [load(pipe.recv_bytes()) for _ in about.get("saes", ())]
    except (EOFError, OSError):
        raise OrdinalError(
            "A training process ended before its members were fitted; the machine may be short of "
            "memory. Try `workers: 1`."
        ) from None
    if "error" in about:
        raise OrdinalError(about["error"])
    saes = [
        INFERENCE[kind.pop("kind")](**kind, **tensors)
        for kind, tensors in zip(about["saes"], weights, strict=True)
    ]
    return saes or [MemberMetrics(*one) for one in about["metrics"]]


def serve(descriptor: int) -> None:
    """Fit the tasks that come down the pipe, until it closes: a parent that died closes it."""
    with (
        contextlib.suppress(EOFError, ConnectionError, Stopped),
        Connection(descriptor) as pipe,
    ):
        while True:
            task = _receive_task(pipe)
            with (
                _caught(signal.SIGTERM) as stop,
                contextlib.closing(
                    fit_group(task.group, task.device, task.checkpoints, stop)
                ) as messages,
            ):
                try:
                    for message in messages:
                        _send(pipe, message)
                except OrdinalError as error:
                    _send(pipe, error)
