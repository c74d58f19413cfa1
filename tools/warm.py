"""`python tools/warm.py COMMAND ...`: runs a command in which `gpstoken` starts with its imports already done.

The pipeline calls `gpstoken` about a hundred times, and each call spends a quarter of a minute of a slow core on
importing torch, torchvision and Lightning. This process imports them once; `tools/bin/gpstoken`, first in the PATH of
COMMAND, asks it for a fork instead of starting a Python of its own. Nothing else differs: without it `dvc repro` does
the same, but takes longer.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 1 << 20  # bytes of a request: arguments and environment
PAUSE = 0.05  # seconds between checks for processes that have ended


def main(command: list[str]) -> int:
    """Serves forks until `command` ends and returns its exit code; a fork exits with that of its subcommand."""
    environment = dict(os.environ)
    # Set before numpy and torch are imported: a process with threads must not fork. Each fork sets its own number.
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    sys.path[0] = str(ROOT)
    # An interrupt from the terminal reaches the forks and the command; this process waits for them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(folder, "socket"))
        listener.listen(64)
        environment["GPSTOKEN_WARM"] = listener.getsockname()
        environment["PATH"] = f"{ROOT / 'tools' / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
        process = subprocess.Popen(command, env=environment, preexec_fn=_hear_interrupts)
        cli = _import_everything()  # while the command starts; early requests wait
        waiting: list[int] = []
        while process.poll() is None:
            if select.select([listener], [], [], PAUSE)[0]:
                connection, _ = listener.accept()
                pid = os.fork()
                if not pid:
                    os._exit(_serve(connection, cli.main))
                connection.close()
                waiting.append(pid)
            waiting = [pid for pid in waiting if os.waitpid(pid, os.WNOHANG) == (0, 0)]
        return process.returncode


def _import_everything() -> ModuleType:
    """Imports what any subcommand may need; returns `gpstoken.cli`."""
    cli = importlib.import_module("gpstoken.cli")
    importlib.import_module("datamodules")
    for module in pkgutil.walk_packages(sys.modules["gpstoken"].__path__, "gpstoken."):
        with contextlib.suppress(ImportError):  # of a package that is not installed, such as numba
            importlib.import_module(module.name)
    return cli


def _serve(connection: socket.socket, run) -> int:
    """Runs one request in a fork and reports its exit code; ends it if nobody waits for it any more."""
    message, descriptors, *_ = socket.recv_fds(connection, LONGEST, 3)
    while not message.endswith(b"\n"):
        message += connection.recv(LONGEST)
    pid = os.fork()
    if not pid:
        _become(json.loads(message), descriptors)
        return _outcome(run)
    for descriptor in descriptors:
        os.close(descriptor)
    ended, status = os.waitpid(pid, os.WNOHANG)
    while not ended:
        if select.select([connection], [], [], PAUSE)[0]:  # the caller sends nothing more, so it is gone
            os.kill(pid, signal.SIGTERM)
            ended, status = os.waitpid(pid, 0)
        else:
            ended, status = os.waitpid(pid, os.WNOHANG)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(BrokenPipeError):  # the caller may be gone
        connection.sendall(b"%d\n" % (code if code >= 0 else 128 - code))  # a shell's number for a signal
    return 0


def _become(request: dict, descriptors: list[int]) -> None:
    """Takes over the streams, folder, environment and number of threads of the caller."""
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["gpstoken", *request["arguments"]]
    sys.modules["torch"].set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    _hear_interrupts()


def _outcome(run) -> int:
    """Runs the subcommand and returns the exit code that the interpreter would give."""
    try:
        code = run(sys.argv[1:])
    except SystemExit as error:
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code or 0


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
