"""Each flow of the console in a real Chromium, on both stores, at two widths, in light and dark."""

from __future__ import annotations

import re
import unittest

from playwright.sync_api import expect

import browsing


class OnAStore(unittest.TestCase):
    """The flows; `store` is set by the classes below."""

    store: str
    width: str

    @classmethod
    def setUpClass(cls):
        if cls is OnAStore:
            raise unittest.SkipTest("the classes below run it")
        cls.browser = cls.enterClassContext(browsing.chromium())
        cls.console = cls.enterClassContext(browsing.console_on(cls.store))

    def setUp(self):
        size = {"width": browsing.WIDTHS[self.width], "height": 800}
        context = self.browser.new_context(viewport=size, permissions=["clipboard-read", "clipboard-write"])
        self.addCleanup(context.close)
        self.page = context.new_page()
        self.elsewhere, self.complaints = [], []
        self.page.on("request", self.note)
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        browsing.sign_in(self.page, self.console)

    def note(self, request):
        if not request.url.startswith((self.console.url, "data:")):
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
            self.page.goto(self.console.url + path)
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            self.assertEqual(browsing.serious_faults(self.page), [], scheme)
        over = "() => document.documentElement.scrollWidth - window.innerWidth"
        self.assertLessEqual(self.page.evaluate(over), 0, f"{self.page.url} is too wide")

    def button(self, name: str):
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str):
        return self.page.get_by_role("main").get_by_role("link", name=name, exact=True)

    def field(self, name: str):
        return self.page.get_by_label(name, exact=True)

    def open(self, path: str):
        self.page.goto(self.console.url + path)

    def test_a_wrong_secret_is_refused_in_words(self):
        self.button("Sign out").click()
        self.field("Secret").fill("wrong")
        self.button("Sign in").click()
        expect(self.page.get_by_role("alert")).to_contain_text("not in force")
        self.sound()

    def test_one_signs_in_by_keyboard_alone(self):
        self.button("Sign out").click()
        expect(self.field("Secret")).to_be_focused()
        self.page.keyboard.type(self.console.server.credential)
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", name="Overview")).to_be_visible()
        self.page.keyboard.press("Tab")
        expect(self.page.get_by_text("Skip to the content")).to_be_focused()
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("main")).to_be_focused()

    def test_the_overview_counts_what_is_judged_without_a_reload(self):
        secret = self.console.create("counted", "--namespace", "live")
        self.open("/?namespace=live")
        self.page.evaluate("() => { window.untouched = true; }")
        requests = self.page.locator("dt:text-is('Requests') + dd")
        expect(requests).to_have_text("0")
        self.console.cli("token", "validate", "--namespace", "live", secret=secret)
        expect(requests).to_have_text("1", timeout=30_000)
        self.assertTrue(self.page.evaluate("() => window.untouched"), "it was reloaded")
        expect(self.link("counted")).to_be_visible()
        self.sound()

    def test_times_are_the_readers_with_utc_at_hand(self):
        self.console.create("timed", "--ttl", "24h")
        self.open("/expiring")
        time = self.page.locator("main time").first
        expect(time).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))

    def test_a_token_is_made_and_its_secret_copied_once(self):
        self.open("/tokens/new")
        self.sound()
        self.field("Name").fill("<b>till</b> 7")
        self.field("Scopes").fill("or ders")
        self.button("Create the token").click()
        expect(self.page.get_by_role("alert")).to_contain_text("scopes[0]")
        expect(self.field("Scopes")).to_have_attribute("aria-invalid", "true")
        self.sound()
        self.field("Scopes").fill("orders:read")
        self.field("Rate limits").fill("100/1m")
        self.field("Ends").fill("30d")
        self.button("Create the token").click()
        expect(self.page.get_by_text("This secret is shown only now.")).to_be_visible()
        self.sound()
        secret = self.page.locator("#issued").inner_text().strip()
        self.button("Copy").click()
        expect(self.page.get_by_text("Copied.")).to_be_visible()
        self.assertEqual(self.page.evaluate("() => navigator.clipboard.readText()"), secret)
        self.assertIn("VALID", self.console.cli("token", "validate", secret=secret))
        self.page.reload()
        expect(self.page.get_by_role("heading", name="Already shown")).to_be_visible()
        self.field("Find a token by its id, its secret or its owner").fill(secret)
        self.button("Find").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text("Token <b>till</b> 7")
        self.assertNotIn(secret, self.page.url)
        self.sound()

    def test_a_token_is_edited_switched_rotated_revoked_and_deleted(self):
        secret = self.console.create("changing", "--rate-limit", "100/1m")
        name = f"changed {self.width}"
        self.field("Find a token by its id, its secret or its owner").fill(secret)
        self.button("Find").click()
        self.link("Edit").click()
        self.sound()
        self.field("Name").fill(name)
        self.button("Save").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(f"Token {name}")
        self.button("Disable").click()
        self.assertIn("DISABLED", self.console.cli("token", "validate", secret=secret))
        self.button("Enable").click()
        self.button("Reset limits").click()
        self.link("Rotate…").click()
        self.sound()
        self.field("Grace of the secret before").fill("1h")
        self.button("Rotate, and show the new secret").click()
        newer = self.page.locator("#issued").inner_text().strip()
        for either in (secret, newer):
            self.assertIn("VALID", self.console.cli("token", "validate", secret=either))
        self.link("To the token").click()
        self.link("Revoke…").click()
        self.sound()
        self.field("Reason").fill("lost")
        self.button("Revoke for good").click()
        expect(self.page.get_by_text("lost")).to_be_visible()
        self.assertIn("REVOKED", self.console.cli("token", "validate", secret=newer))
        self.link("Delete…").click()
        self.sound()
        self.field("Type the token's id to confirm").fill("no")
        self.button("Delete for good").click()
        expect(self.page.get_by_role("alert")).to_contain_text("must be the id")
        shown = self.page.locator("main code").first.inner_text()
        self.field("Type the token's id to confirm").fill(shown)
        self.button("Delete for good").click()
        expect(self.page.get_by_role("heading", name="Tokens")).to_be_visible()

    def test_several_tokens_are_revoked_and_lists_are_paged(self):
        space = f"many-{self.width}"
        for number in range(52):
            self.console.create(f"n{number}", "--namespace", space)
        self.open(f"/tokens?namespace={space}")
        self.sound()
        rows = self.page.locator("tbody tr")
        expect(rows).to_have_count(50)
        self.link("Older tokens").click()
        expect(rows).to_have_count(2)
        self.link("The newest").click()
        for at in (0, 1, 2):
            rows.nth(at).get_by_role("checkbox").check()
        self.button("Revoke the selected…").click()
        self.sound()
        self.field("Reason").fill("spring")
        self.button("Revoke them all").click()
        expect(self.page.get_by_text(": revoked")).to_have_count(3)
        self.open(f"/tokens?namespace={space}&state=revoked")
        expect(rows).to_have_count(3)

    def test_a_lease_is_seen_and_taken_back(self):
        pool = f"gpu-{self.width}"
        self.console.create("leased", "--pool", pool)
        self.console.cli("lease", "acquire", "--pool", pool, "--holder", "worker-7", "--duration", "1h")
        self.open("/pools")
        self.sound()
        self.link(pool).click()
        expect(self.page.get_by_text("worker-7")).to_be_visible()
        self.sound()
        self.page.get_by_role("button", name=re.compile("^Take back .* from worker-7$")).click()
        expect(self.page.get_by_text("Nobody holds it.")).to_be_visible()
        self.sound()

    def test_refusals_are_told(self):
        space = f"refused-{self.width}"
        secret = self.console.create("refused", "--namespace", space)
        asked = ("token", "validate", "--namespace", space, "--scope", "a:b", "--path", "/orders")
        self.console.cli(*asked, secret=secret)
        browsing.until(lambda: self.page.goto(f"{self.console.url}/refusals?namespace={space}")
                       and self.page.get_by_role("link", name="refused").count())
        expect(self.page.get_by_role("row").nth(1)).to_contain_text("scope denied")
        self.sound()

    def test_every_other_page_is_sound(self):
        for path in ("/", "/namespaces", "/health", "/me", "/expiring", "/nowhere", "/tokens?namespace=empty"):
            with self.subTest(path):
                self.sound(path)

    def test_whoever_may_only_read_is_shown_no_more(self):
        secret = self.console.create("reader", "--scope", "authority:read")
        self.button("Sign out").click()
        browsing.sign_in(self.page, self.console, secret)
        expect(self.page.get_by_role("link", name="New token")).to_have_count(0)
        self.open("/tokens")
        self.page.locator("tbody a").first.click()
        expect(self.link("Revoke…")).to_have_count(0)
        self.sound()


for store in ("sqlite", "redis"):
    for width in browsing.WIDTHS:
        name = f"On{store.capitalize()}{width.capitalize()}"
        globals()[name] = type(name, (OnAStore,), {"store": store, "width": width})

if __name__ == "__main__":
    browsing.servers.end_on_sigterm()
    unittest.main(verbosity=2)
