"""Starts the real server on each store, and ends every process that it started, whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORES = ("sqlite", "redis")
LISTENING = "listening on "
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 20
REDIS_ROOT_TOKEN = "root-token-of-the-client-tests-0123456789"


def default_binary() -> pathlib.Path:
    """The debug build of the server, unless TOKEN_AUTHORITY_TEST_BINARY names another."""
    named = os.environ.get("TOKEN_AUTHORITY_TEST_BINARY")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return pathlib.Path(named) if named else ROOT / target / "debug" / "token-authority"


@dataclasses.dataclass
class Server:
    """A running server: where it listens, and the root credential that it accepts."""

    address: str
    credential: str
    home: pathlib.Path
    process: subprocess.Popen
    log: pathlib.Path

    def stop(self) -> int:
        """Asks the server to end and answers its exit code; kills it if it does not."""
        return _stop(self.process)


def end_on_sigterm() -> None:
    """Lets SIGTERM unwind the stack, so that what was started is ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@contextlib.contextmanager
def serving(
    store: str, binary: pathlib.Path | None = None, flags: tuple[str, ...] = ()
) -> Iterator[Server]:
    """Serves on a fresh store of the kind `sqlite` or `redis` for the length of a `with`."""
    binary = (binary or default_binary()).absolute()
    with contextlib.ExitStack() as stack:
        home = pathlib.Path(tempfile.mkdtemp(prefix="token-authority-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        env = _clean_environment(home)
        token_file = home / ".config" / "token-authority" / "root-token"
        token_file.parent.mkdir(parents=True)
        arguments = ["serve", "--listen", "127.0.0.1:0", *flags]
        if store == "sqlite":
            arguments += ["--store", f"sqlite:{home}/token-authority.db"]
            arguments += ["--root-token-file", str(token_file)]
        else:
            url = stack.enter_context(_redis(home))
            subprocess.run(
                [str(binary), "init", "--store", url],
                env=env, cwd=home, stdout=subprocess.DEVNULL, check=True, timeout=START_SECONDS_MAX,
            )
            arguments += ["--store", url]
            env["TOKEN_AUTHORITY_ROOT_TOKEN"] = REDIS_ROOT_TOKEN
            token_file.write_text(REDIS_ROOT_TOKEN + "\n")
            token_file.chmod(0o600)
        log = home / "server.log"
        process, address = stack.enter_context(_listening(binary, arguments, env, home, log))
        credential = token_file.read_text().strip()
        yield Server(address, credential, home, process, log)


def _clean_environment(home: pathlib.Path) -> dict[str, str]:
    """The environment without what configures us, and with a home of its own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TOKEN_AUTHORITY_")}
    env.pop("XDG_CONFIG_HOME", None)
    return {**env, "HOME": str(home)}


@contextlib.contextmanager
def _listening(binary, arguments, env, home, log) -> Iterator[tuple[subprocess.Popen, str]]:
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [str(binary), *arguments],
            env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
        )
    try:
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
        yield process, _address(lines, log)
    finally:
        _stop(process)


def _read_lines(stream, lines: queue.Queue) -> None:
    with stream:
        for line in stream:
            lines.put(line.decode("utf-8", "replace").rstrip("\n"))
    lines.put(None)


def _address(lines: queue.Queue, log: pathlib.Path) -> str:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            line = None
        if line is None:
            told = log.read_text(errors="replace")
            raise RuntimeError(f"the server did not say '{LISTENING}…'; its log:\n{told}")
        if line.startswith(LISTENING):
            return line[len(LISTENING):].strip()


@contextlib.contextmanager
def _redis(home: pathlib.Path) -> Iterator[str]:
    """An own redis-server on a free port, keeping what it acknowledges for a second at most."""
    for attempt in range(5):
        port = _free_port()
        process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(home),
             "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
             "--maxmemory-policy", "noeviction"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            if not _redis_answers(process, port):
                continue
            yield f"redis://127.0.0.1:{port}"
            return
        finally:
            _stop(process)
    raise RuntimeError("redis-server did not start")


def _redis_answers(process: subprocess.Popen, port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS_MAX
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return process.poll() is None
        time.sleep(0.05)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _stop(process: subprocess.Popen) -> int:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
