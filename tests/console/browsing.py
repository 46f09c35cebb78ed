"""A real browser at a real console: starts both, and asks axe what it thinks of a page."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import subprocess
import sys
import time
from typing import Callable, Iterator

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))
import servers  # noqa: E402

CHROMIUM = os.environ.get("TOKEN_AUTHORITY_TEST_CHROMIUM", "chromium")
AXE = servers.ROOT / "target/test-tools/npm/node_modules/axe-core/axe.min.js"
PATIENCE_SECONDS = 30
WIDTHS = {"wide": 1280, "phone": 390}


class Console:
    """A server with a console, and its command line as root."""

    def __init__(self, server: servers.Server):
        self.server = server
        self.url = "http://" + until(lambda: _console_of(server.log))

    def cli(self, *arguments: str, secret: str = "") -> str:
        """What the command line prints; `secret` is its standard input."""
        command = [str(servers.default_binary().absolute()), "--server", self.server.address]
        command += ["--token", self.server.credential, *arguments]
        ran = subprocess.run(
            command, input=secret, text=True, capture_output=True, timeout=PATIENCE_SECONDS
        )
        if ran.returncode not in (0, 1):
            raise RuntimeError(ran.stderr)
        return ran.stdout

    def create(self, name: str, *arguments: str) -> str:
        """The secret of a new token."""
        return self.cli("token", "create", "--name", name, *arguments, "--secret-only").strip()


def _console_of(log: pathlib.Path) -> str | None:
    found = re.search(r"console address=(\S+)", log.read_text(errors="replace"))
    return found and found[1]


def until(look: Callable[[], object], seconds: float = PATIENCE_SECONDS):
    """What `look` answers once that is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about in time")


@contextlib.contextmanager
def console_on(store: str) -> Iterator[Console]:
    with servers.serving(store, flags=("--console", "127.0.0.1:0")) as server:
        yield Console(server)


@contextlib.contextmanager
def chromium():
    """A headless Chromium; as root it has no sandbox."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    path = _which(CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def _which(name: str) -> str:
    import shutil

    return shutil.which(name) or name


def sign_in(page: Page, console: Console, secret: str | None = None) -> None:
    page.goto(console.url)
    page.get_by_label("Secret").fill(secret or console.server.credential)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()


def serious_faults(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using the page."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{page.url}: {one['id']}: {one['nodes'][0]['html']}" for one in serious]
