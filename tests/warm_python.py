"""Run Python commands in forks of one process that has loaded the large libraries: each is spared seconds of imports.

A folder of stand-ins for ``python``, ``dvc`` and ``chatladder`` goes to the front of PATH. A stand-in hands its
arguments, folder, environment and terminal to the server, which forks, loads the command's own code from where the
command would, and answers with its exit status. What is not ``python -m MODULE`` goes to Python itself, and what has to
be an interpreter of its own, because of PYTHONHASHSEED, names ``sys.executable``.
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

#: Loaded before the first fork. None is ours: each command takes its own code from its own folder.
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
#: Seconds that loading may take on a busy machine.
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
    """Start the server; gives the environment with the stand-ins in front. Whatever still runs at the end is killed.

    Args:
        checkout: Where ``chatladder`` takes its code from.
        environment: Of the server, and so of what libraries read while they are loaded.
    """
    # The address of a Unix socket may have 107 bytes, which a folder of pytest's can exceed.
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
        with suppress(ImportError):  # then the command tells
            importlib.import_module(name)
    with suppress(ImportError):
        importlib.import_module("dvc.cli.parser").get_main_parser()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer
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
    """Run one command in a process of its own, and tell its exit status."""
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
    """Become the command, which starts others as warm as itself."""
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
