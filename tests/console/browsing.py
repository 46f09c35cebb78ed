"""A real browser at a real console: starts both, and asks axe what it thinks of a page."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import unittest
from typing import Callable, Iterator

from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))
import servers  # noqa: E402

CHROMIUM = os.environ.get("TOKEN_AUTHORITY_TEST_CHROMIUM", "chromium")
AXE = servers.ROOT / "target/test-tools/npm/node_modules/axe-core/axe.min.js"
PATIENCE_SECONDS = 30
expect.set_options(timeout=PATIENCE_SECONDS * 1000)
WIDTHS = {"wide": 1280, "phone": 390}
# Contrast is all that the colours of the dark change.
AXE_RULES = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
TELLS_BREACHES = """document.addEventListener("securitypolicyviolation",
    (event) => console.error(`against the policy: ${event.violatedDirective} ${event.blockedURI}`));"""


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

    def made(self, name: str, *arguments: str) -> tuple[str, str]:
        """The id and the secret of a new token."""
        told = json.loads(self.cli("token", "create", "--name", name, *arguments, "--json"))
        return told["token"]["tokenId"], told["secret"]

    def create(self, name: str, *arguments: str) -> str:
        """The secret of a new token."""
        return self.made(name, *arguments)[1]

    def judged(self, secret: str, *arguments: str) -> str:
        return self.cli("token", "validate", *arguments, secret=secret)


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
    path = shutil.which(CHROMIUM) or CHROMIUM
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page: Page, console: Console, secret: str | None = None) -> None:
    page.goto(console.url)
    page.get_by_label("Secret").fill(secret or console.server.credential)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()


def serious_faults(page: Page, scheme: str) -> list[str]:
    """What axe finds that keeps somebody from using the page."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())
    options = {"resultTypes": ["violations"], **AXE_RULES[scheme]}
    found = page.evaluate("(options) => axe.run(document, options)", options)
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{page.url}: {one['id']}: {one['nodes'][0]['html']}" for one in serious]


class Browsing(unittest.TestCase):
    """A browser at a console of its own; `store` and `width` are set by the classes that are run."""

    store: str
    width: str

    @classmethod
    def setUpClass(cls):
        begun = contextlib.ExitStack()
        cls.addClassCleanup(begun.close)
        cls.browser = begun.enter_context(chromium())
        cls.console = begun.enter_context(console_on(cls.store))

    def setUp(self):
        self.elsewhere, self.complaints = [], []
        self.page = self.new_page()
        sign_in(self.page, self.console)

    def new_page(self, **more) -> Page:
        """A page of a browser in which nobody is signed in, watched for what it must not do."""
        size = {"width": WIDTHS[self.width], "height": 800}
        context = self.browser.new_context(
            viewport=size, permissions=["clipboard-read", "clipboard-write"], **more
        )
        self.addCleanup(context.close)
        context.add_init_script(TELLS_BREACHES)
        page = context.new_page()
        page.on("request", self.note)
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def note(self, request):
        if not request.url.startswith((self.console.url + "/", "data:")):
            self.elsewhere.append(request.url)

    def hear(self, message):
        # A refused form is answered with a status that browsers complain about.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def tearDown(self):
        self.assertEqual(self.elsewhere, [], "requests to others")
        self.assertEqual(self.complaints, [], "complaints of the browser")

    def sound(self, path: str | None = None) -> None:
        """The page has no serious fault in light and dark, and is no wider than the screen."""
        if path is not None:
            self.open(path)
        grounds = set()
        for scheme in AXE_RULES:
            self.page.emulate_media(color_scheme=scheme)
            self.assertEqual(serious_faults(self.page, scheme), [], scheme)
            ground = "() => getComputedStyle(document.body).backgroundColor"
            grounds.add(self.page.evaluate(ground))
        self.assertEqual(len(grounds), len(AXE_RULES), "light and dark are alike")
        over = "() => document.documentElement.scrollWidth - window.innerWidth"
        self.assertLessEqual(self.page.evaluate(over), 0, f"{self.page.url} is too wide")

    def button(self, name: str):
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str):
        return self.page.get_by_role("main").get_by_role("link", name=name, exact=True)

    def field(self, name: str):
        return self.page.get_by_label(name, exact=True)

    def rows(self):
        return self.page.locator("tbody tr")

    def number(self, name: str):
        """What stands under that word."""
        return self.page.locator(f"dt:text-is('{name}') + dd")

    def open(self, path: str):
        self.page.goto(self.console.url + path)

    def find(self, what: str):
        self.field("Find a token by its id, its secret or its owner").fill(what)
        self.button("Find").click()

    def headed(self, text: str):
        expect(self.page.get_by_role("heading", level=1)).to_have_text(text)

    def tab_to(self, name: str):
        """Tabs on, as one does without a mouse, to what is called so, and sees that it is marked."""
        named = """() => { const at = document.activeElement;
            return at.ariaLabel || (at.labels && at.labels[0] && at.labels[0].textContent) || at.textContent; }"""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if self.page.evaluate(named).strip() == name:
                outline = "() => getComputedStyle(document.activeElement).outlineStyle"
                self.assertEqual(self.page.evaluate(outline), "solid", f"focus on {name} is not seen")
                return
        self.fail(f"the keyboard does not come to {name}")
