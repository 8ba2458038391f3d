"""Run Python commands in forks of one process that has loaded the large libraries, to save each seconds of imports.

A folder of stand-ins for ``python``, ``dvc`` and ``chatladder`` goes to the front of PATH. A stand-in sends its
arguments, folder, environment and terminal to the server, which forks, loads the command's code from the path that the
command would use, and replies with its exit status. Anything other than ``python -m MODULE`` runs Python itself. A test
that needs a new interpreter, because of PYTHONHASHSEED, uses ``sys.executable``.
"""

import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

#: Libraries to load before the first fork. None is ours: each command loads our code from its own folder.
LIBRARIES = (
    "accelerate",
    "click",
    "dvc.cli",
    "dvc.repo",
    "dvc.repo.experiments.queue.celery",
    "dvclive",
    "krippendorff",
    "pandas",
    "peft",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "ruamel.yaml",
    "scipy.stats",
    "scmrepo.git",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.metrics",
    "torch",
    "transformers",
    "transformers.models.qwen2.modeling_qwen2",
    "wordfreq",
)
#: The timeout of loading, in seconds, on a busy machine.
PATIENCE = 120
STAND_IN = """\
#!{python} -IS
import json, os, socket, sys
name, *arguments = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
if name.startswith("python") and arguments[arguments[:1] == ["-u"] :][:1] != ["-m"]:
    os.execv({python!r}, [{python!r}, *arguments])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(json.dumps([name, arguments, os.getcwd(), dict(os.environ)]).encode() + b"\\n")
    sys.exit(int(server.makefile().readline() or 70))
"""


@contextmanager
def warm_commands(checkout, environment):
    """Start the server; yield the environment with the stand-ins in front. Processes that run at the end are killed.

    Args:
        checkout: The folder from which ``chatladder`` loads its code.
        environment: The environment of the server, which libraries read while they are loaded.
    """
    # The address of a Unix socket may have at most 107 bytes, which a folder of pytest's can exceed.
    with tempfile.TemporaryDirectory(prefix="warm") as folder:
        address = str(Path(folder) / "socket")
        for name in ("python", "dvc", "chatladder"):
            path = Path(folder) / name
            path.write_text(STAND_IN.format(python=sys.executable, address=address), encoding="utf-8")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        command = [sys.executable, __file__, address, str(checkout)]
        with subprocess.Popen(command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL) as server:
            try:
                until = time.monotonic() + PATIENCE
                while not Path(address).exists():
                    assert server.poll() is None, "the server of warm commands did not start"
                    assert time.monotonic() < until, "the server of warm commands takes too long to load"
                    time.sleep(0.05)
                binaries = Path(sys.executable).parent
                path = os.pathsep.join(map(str, (folder, binaries, environment["PATH"])))
                yield {**environment, "PATH": path}
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(server.pid, signal.SIGKILL)


def serve(address, checkout):
    for name in LIBRARIES:
        with suppress(ImportError):  # the command then reports it
            importlib.import_module(name)
    with suppress(ImportError):
        importlib.import_module("dvc.cli.parser").get_main_parser()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process waits for the forks that answer
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return answer(connection, address, checkout)
            connection.close()


def answer(connection, address, checkout):
    """Run one command in its own process, and report its exit status."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    name, arguments, folder, environment = json.loads(connection.makefile("r", encoding="utf-8").readline())
    child = os.fork()
    if child == 0:
        connection.close()
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)
        random.seed()
        return run(name, arguments, address, checkout)
    _, status = os.waitpid(child, 0)
    connection.sendall(b"%d\n" % (os.waitstatus_to_exitcode(status) & 0xFF))
    os._exit(0)


def run(name, arguments, address, checkout):
    """Become the command, whose own Python commands are warm, too."""
    sys.executable = f"{Path(address).parent}/python"
    if name == "dvc":
        sys.argv = ["dvc", *arguments]
        sys.exit(importlib.import_module("dvc.cli").main())
    if name == "chatladder":
        sys.path[0] = checkout
        sys.argv = ["chatladder", *arguments]
        sys.exit(importlib.import_module("chatladder.cli.app").main())
    further = os.environ.get("PYTHONPATH", "")
    sys.path[:1] = [str(Path.cwd()), *(place for place in further.split(os.pathsep) if place)]
    sys.argv = arguments[arguments.index("-m") + 1 :]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
