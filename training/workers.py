"""Members side by side, one process and one thread each.

A step is bound by matrix products too small to share between threads, so whole members are what
runs in parallel. The processes are started afresh rather than by `multiprocessing`, which would
run the caller's script again in each of them. What goes down a pipe is JSON and safetensors:
a member's tokens once, then its metrics, then the finished SAE.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait

import torch
from safetensors.torch import load, save

from lm.errors import OrdinalError
from sae.relu import ReLUSAE
from training.config import TrainConfig
from training.member import MemberMetrics, MemberTask, fit_member

# Ctrl-C reaches the whole process group; the parent alone answers it.
_START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from training.workers import serve; serve(int(sys.argv[1]))"
)


def available_cpus() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fit_members(
    tasks: Sequence[MemberTask], workers: int
) -> Generator[tuple[int, MemberMetrics | ReLUSAE]]:
    """Fit all members: yields (position of the task, metrics or finished SAE) as they come.

    Closing the iterator, or any error, ends the processes.

    Raises:
        OrdinalError: a member diverged, or a process died.
    """
    if workers == 1 or len(tasks) == 1 or os.name == "nt":  # Windows cannot hand over a pipe
        yield from _here(tasks)
        return
    waiting = list(enumerate(tasks))[::-1]
    running: dict[Connection, int] = {}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(min(workers, len(tasks))):
            ours, theirs = Pipe()
            with theirs:
                processes.append(_start(theirs))
            running[ours], task = waiting.pop()
            _send_task(ours, task)
        while running:
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                position = running[pipe]
                message = _receive(pipe)
                yield position, message
                if isinstance(message, ReLUSAE):
                    del running[pipe]
                    if waiting:
                        running[pipe], task = waiting.pop()
                        _send_task(pipe, task)
                    else:
                        pipe.close()
    finally:
        for pipe in running:
            pipe.close()
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _here(tasks: Sequence[MemberTask]) -> Iterator[tuple[int, MemberMetrics | ReLUSAE]]:
    for position, task in enumerate(tasks):
        for message in _single_threaded(task):
            yield position, message


def _single_threaded(task: MemberTask) -> Iterator[MemberMetrics | ReLUSAE]:
    """`fit_member` on one thread: the order of additions, so the result, hangs on their number."""
    threads = torch.get_num_threads()
    messages = fit_member(task)
    while True:
        torch.set_num_threads(1)
        try:
            message = next(messages)
        except StopIteration:
            return
        finally:
            torch.set_num_threads(threads)
        yield message


def _start(pipe: Connection) -> subprocess.Popen[bytes]:
    paths = [path or os.getcwd() for path in sys.path]
    return subprocess.Popen(
        [sys.executable, "-c", _START, str(pipe.fileno())],
        pass_fds=[pipe.fileno()],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
    )


def _send_task(pipe: Connection, task: MemberTask) -> None:
    about = {"member": task.member, "config": task.config.model_dump()}
    with contextlib.suppress(ConnectionError):  # its end shows when it is read from
        pipe.send_bytes(json.dumps(about).encode())
        pipe.send_bytes(save({"fit": task.fit, "test": task.test}))


def _receive_task(pipe: Connection) -> MemberTask:
    about = json.loads(pipe.recv_bytes())
    config = TrainConfig.model_validate(about["config"])
    return MemberTask(about["member"], config=config, **load(pipe.recv_bytes()))


def _send(pipe: Connection, message: MemberMetrics | ReLUSAE | OrdinalError) -> None:
    if isinstance(message, ReLUSAE):
        pipe.send_bytes(b'{"sae": true}')
        pipe.send_bytes(save(vars(message)))
    elif isinstance(message, OrdinalError):
        pipe.send_bytes(json.dumps({"error": str(message)}).encode())
    else:
        pipe.send_bytes(json.dumps({"metrics": message._asdict()}).encode())


def _receive(pipe: Connection) -> MemberMetrics | ReLUSAE:
    try:
        message = json.loads(pipe.recv_bytes())
        if "sae" in message:
            return ReLUSAE(**load(pipe.recv_bytes()))
    except (EOFError, OSError):
        raise OrdinalError(
            "A training process ended before its member was fitted; the machine may be short of "
            "memory. Try `workers: 1`."
        ) from None
    if "error" in message:
        raise OrdinalError(message["error"])
    return MemberMetrics(**message["metrics"])


def serve(descriptor: int) -> None:
    """Fit the tasks that come down the pipe, until it closes: a parent that died closes it."""
    with contextlib.suppress(EOFError, ConnectionError), Connection(descriptor) as pipe:
        while True:
            task = _receive_task(pipe)
            try:
                for message in _single_threaded(task):
                    _send(pipe, message)
            except OrdinalError as error:
                _send(pipe, error)
