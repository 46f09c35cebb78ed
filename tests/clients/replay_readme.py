"""Replays the README against the real server, on each store: what it shows is what happens.

Replayed are the fenced blocks whose info string is `console replay`. In them a line that begins
with `$ ` is a command, continued as long as a line ends in a backslash; the lines after it are the
output to expect, standard error included. `…` within a line matches anything, a line that is only
`…` any number of lines. A command without expected output must exit with 0 and print nothing.

All commands run in one bash. TOKEN holds the root credential, `grpcurl` and `token-authority` are
the tested ones, and localhost:50051 is where the server listens.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import servers

ANYTHING = "…"
ADVERTISED = re.compile(r"\b(localhost|127\.0\.0\.1):50051\b")
COMMAND_SECONDS_MAX = 60
ENDED = "--- replayed command ended: "


@dataclasses.dataclass
class Step:
    """A command of the README and the output that the README shows for it."""

    line: int
    command: str
    expected: list[str]


def steps_of(text: str) -> list[Step]:
    """All commands of all blocks to replay, in order."""
    steps: list[Step] = []
    fence = None
    indent = ""
    continued = False
    for number, line in enumerate(text.splitlines(), start=1):
        if fence is None:
            opened = re.match(r"^(\s*)(`{3,}|~{3,})\s*(.*?)\s*$", line)
            if opened:
                indent, fence, info = opened.groups()
                replayed = info.split() == ["console", "replay"]
                begun = len(steps)
                continued = False
            continue
        line = line[len(indent):] if line.startswith(indent) else line.lstrip()
        if line.rstrip() == fence:
            fence = None
        elif not replayed:
            continue
        elif continued:
            steps[-1].command += "\n" + line
            continued = line.endswith("\\")
        elif line.startswith("$ "):
            steps.append(Step(number, line[2:], []))
            continued = line.endswith("\\")
        elif len(steps) == begun:
            raise ValueError(f"line {number}: output without a command before it")
        else:
            steps[-1].expected.append(line)
    return steps


def matches(expected: list[str], actual: list[str]) -> bool:
    """Whether the actual lines are what the expected ones allow."""
    expected, actual = _trimmed(expected), _trimmed(actual)
    # reached[n]: the expected lines so far can match the first n actual ones.
    reached = [True] + [False] * len(actual)
    for line in expected:
        if line.strip() == ANYTHING:
            first = reached.index(True) if True in reached else len(reached)
            reached = [at >= first for at in range(len(reached))]
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in line.split(ANYTHING)))
        reached = [False] + [
            before and pattern.fullmatch(text) is not None
            for before, text in zip(reached, actual)
        ]
    return reached[-1]


def _trimmed(lines: list[str]) -> list[str]:
    lines = [line.rstrip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines


class Bash:
    """One bash that runs command after command and tells the output of each."""

    def __init__(self, env: dict[str, str], cwd: pathlib.Path):
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            env=env, cwd=cwd, text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._write("set -o pipefail\n")

    def __enter__(self) -> Bash:
        return self

    def __exit__(self, *_) -> None:
        _kill_group(self._process)
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def run(self, command: str) -> tuple[int, list[str]]:
        """Runs a command, and answers its exit code and the lines that it printed."""
        self._write(f"{{ {command}\n}} </dev/null\nprintf '\\n{ENDED}%s\\n' \"$?\"\n")
        lines: list[str] = []
        alarm = _Alarm(self._process, COMMAND_SECONDS_MAX)
        with alarm:
            for line in self._process.stdout:
                if line.startswith(ENDED):
                    return int(line[len(ENDED):]), lines
                lines.append(line.rstrip("\n"))
        why = "took too long" if alarm.rang else "ended the shell"
        return -1, [*lines, f"(the command {why})"]

    def _write(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(text)
            self._process.stdin.flush()


def _kill_group(process: subprocess.Popen) -> None:
    """Kills a process that leads a group of its own, with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class _Alarm:
    """Kills a shell, and what it runs, when it has not answered in time."""

    def __init__(self, process: subprocess.Popen, seconds: float):
        self.rang = False
        self._process = process
        self._timer = threading.Timer(seconds, self._ring)

    def _ring(self) -> None:
        self.rang = True
        _kill_group(self._process)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_) -> None:
        self._timer.cancel()


def replay(steps: list[Step], server: servers.Server, tools: dict[str, pathlib.Path]) -> list[str]:
    """Runs all steps; answers a description of each mismatch."""
    work = server.home / "work"
    bin_directory = server.home / "bin"
    work.mkdir()
    bin_directory.mkdir()
    (work / "proto").symlink_to(servers.ROOT / "proto")
    for name, tool in tools.items():
        (bin_directory / name).symlink_to(tool)
    env = {k: v for k, v in os.environ.items() if not k.startswith("TOKEN_AUTHORITY_")}
    env.pop("XDG_CONFIG_HOME", None)
    env.update(
        HOME=str(server.home),
        PATH=f"{bin_directory}{os.pathsep}{env['PATH']}",
        TOKEN=server.credential,
        TOKEN_AUTHORITY_SERVER=server.address,
    )
    faults: list[str] = []
    with Bash(env, work) as bash:
        for step in steps:
            status, actual = bash.run(ADVERTISED.sub(server.address, step.command))
            expected = [ADVERTISED.sub(server.address, line) for line in step.expected]
            silent_failure = status != 0 and not _trimmed(expected)
            if matches(expected, actual) and not silent_failure:
                continue
            faults.append(_described(step, expected, _trimmed(actual), status))
            if status == -1:
                break
    return faults


def _described(step: Step, expected: list[str], actual: list[str], status: int) -> str:
    def listed(lines: list[str]) -> str:
        return "".join(f"    {line}\n" for line in lines) or "    (nothing)\n"

    return (
        f"README.md:{step.line}: $ {step.command}\n"
        f"  expected:\n{listed(_trimmed(expected))}"
        f"  actual (exit code {status}):\n{listed(actual)}"
    )


def wait_until_serving(server: servers.Server, grpcurl: pathlib.Path) -> None:
    """Asks for the server's health until it is SERVING."""
    asked = [str(grpcurl), "-plaintext", server.address, "grpc.health.v1.Health/Check"]
    deadline = time.monotonic() + servers.START_SECONDS_MAX
    while True:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX)
        if '"SERVING"' in answer.stdout:
            return
        if time.monotonic() > deadline:
            told = server.log.read_text(errors="replace")
            raise RuntimeError(f"never SERVING: {answer.stdout}{answer.stderr}\n{told}")
        time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", type=pathlib.Path, default=servers.ROOT / "README.md")
    parser.add_argument("--binary", type=pathlib.Path, default=servers.default_binary())
    named = os.environ.get("TOKEN_AUTHORITY_TEST_GRPCURL", "grpcurl")
    parser.add_argument("--grpcurl", default=named)
    parser.add_argument("--store", choices=servers.STORES, action="append")
    arguments = parser.parse_args()
    servers.end_on_sigterm()
    steps = steps_of(arguments.readme.read_text(encoding="utf-8"))
    if not steps:
        print(f"{arguments.readme.name} has no block whose info string is 'console replay'")
        return 1
    grpcurl = shutil.which(arguments.grpcurl)
    if grpcurl is None:
        print("grpcurl is absent; TOKEN_AUTHORITY_TEST_GRPCURL may name it")
        return 1
    tools = {"grpcurl": pathlib.Path(grpcurl).absolute()}
    tools["token-authority"] = arguments.binary.absolute()
    failed = False
    for store in arguments.store or servers.STORES:
        with servers.serving(store, arguments.binary) as server:
            wait_until_serving(server, tools["grpcurl"])
            faults = replay(steps, server, tools)
            log = server.log.read_text(errors="replace") if faults else ""
        print(f"{store}: {len(steps)} commands replayed, {len(faults)} mismatches")
        print("".join(f"\n{fault}" for fault in faults), end="")
        print(f"\nlog of the server:\n{log}" if faults else "", end="")
        failed = failed or bool(faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
