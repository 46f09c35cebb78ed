"""What one does in the console; a part of its browser tests."""

from __future__ import annotations

import concurrent.futures
import re

from playwright.sync_api import expect

import browsing


class Changing:
    """The tests, for a class that browses."""

    def test_a_token_is_made_by_keyboard_alone(self):
        self.button("Sign out").click()
        expect(self.field("Secret")).to_be_focused()
        self.page.keyboard.type(self.console.server.credential)
        self.page.keyboard.press("Enter")
        self.headed("Overview")
        self.page.keyboard.press("Tab")
        expect(self.page.get_by_text("Skip to the content")).to_be_focused()
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("main")).to_be_focused()
        self.open("/")
        self.tab_to("New token")
        self.page.keyboard.press("Enter")
        self.headed("New token")
        self.tab_to("Name")
        self.page.keyboard.type("typed")
        self.tab_to("Disabled at first")
        self.page.keyboard.press("Space")
        self.tab_to("Create the token")
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_text("This secret is shown only now.")).to_be_visible()
        self.tab_to("Copy")
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_text("Copied.")).to_be_visible()
        self.tab_to("To the token")
        self.page.keyboard.press("Enter")
        self.headed("Token typed")
        expect(self.number("State")).to_have_text("disabled")

    def test_a_token_is_made_and_its_secret_copied_once(self):
        self.open("/tokens/new")
        self.sound()
        self.field("Name").fill("<b>till</b> 7")
        self.field("Scopes").fill("or ders")
        self.button("Create the token").click()
        expect(self.page.get_by_role("alert")).to_contain_text("scopes[0]")
        expect(self.field("Scopes")).to_have_attribute("aria-invalid", "true")
        expect(self.field("Name")).to_have_value("<b>till</b> 7")
        self.sound()
        for name, value in (
            ("Scopes", "orders:read\norders:write"), ("Rate limits", "100/1m"), ("Quota", "10000/30d"),
            ("Endpoints", "GET /orders/**"), ("Networks", "10.0.0.0/8"), ("Labels", "env=prod"),
            ("Owner", "shop"), ("Description", "of the till"), ("Ends", "30d"),
        ):
            self.field(name).fill(value)
        self.button("Create the token").click()
        expect(self.page.get_by_text("This secret is shown only now.")).to_be_visible()
        self.sound()
        secret = self.page.locator("#issued").inner_text().strip()
        self.button("Copy").click()
        expect(self.page.get_by_text("Copied.")).to_be_visible()
        self.assertEqual(self.page.evaluate("() => navigator.clipboard.readText()"), secret)
        asked = ("--method", "GET", "--path", "/orders/7", "--client-ip", "10.1.2.3")
        self.assertIn("VALID", self.console.judged(secret, *asked))
        self.assertIn("ENDPOINT_DENIED", self.console.judged(secret, "--method", "PUT", *asked[2:]))
        self.page.reload()
        self.headed("Already shown")
        self.assertNotIn(secret, self.page.content())
        self.find(secret)
        self.headed("Token <b>till</b> 7")
        self.assertNotIn(secret, self.page.url)
        for name, value in (("Owner", "shop"), ("Labels", "env=prod"), ("Networks", "10.0.0.0/8")):
            expect(self.number(name)).to_have_text(value)
        self.sound()

    def test_a_token_is_made_without_script(self):
        self.page = self.new_page(java_script_enabled=False)
        browsing.sign_in(self.page, self.console)
        self.open("/tokens/new")
        self.field("Name").fill("scriptless")
        self.button("Create the token").click()
        secret = self.page.locator("#issued").inner_text().strip()
        self.assertIn("VALID", self.console.judged(secret))
        expect(self.button("Copy")).to_have_count(0)

    def test_a_token_is_edited_switched_rotated_revoked_and_deleted(self):
        secret = self.console.create("changing", "--rate-limit", "100/1m")
        name = f"changed {self.width}"
        self.find(secret)
        self.link("Edit").click()
        self.headed("Edit token")
        self.sound()
        self.field("Name").fill(name)
        self.button("Save").click()
        self.headed(f"Token {name}")
        self.button("Disable").click()
        self.button("Enable").wait_for()
        self.assertIn("DISABLED", self.console.judged(secret))
        self.button("Enable").click()
        self.button("Disable").wait_for()
        self.assertIn("VALID", self.console.judged(secret))
        self.button("Reset limits").click()
        self.link("Rotate…").click()
        self.headed("Rotate the secret")
        self.sound()
        self.field("Grace of the secret before").fill("1h")
        self.button("Rotate, and show the new secret").click()
        newer = self.page.locator("#issued").inner_text().strip()
        for either in (secret, newer):
            self.assertIn("VALID", self.console.judged(either))
        self.page.reload()
        self.headed("Already shown")
        self.find(newer)
        self.link("Revoke…").click()
        self.headed("Revoke the token")
        self.sound()
        self.field("Reason").fill("lost")
        self.button("Revoke for good").click()
        expect(self.number("State")).to_contain_text("lost")
        self.assertIn("REVOKED", self.console.judged(newer))
        self.link("Delete…").click()
        self.headed("Delete the token")
        self.sound()
        self.field("Type the token's id to confirm").fill("no")
        self.button("Delete for good").click()
        expect(self.page.get_by_role("alert")).to_contain_text("must be the id")
        self.sound()
        shown = self.page.locator("main code").first.inner_text()
        self.field("Type the token's id to confirm").fill(shown)
        self.button("Delete for good").click()
        self.headed("Tokens")
        self.find(shown)
        expect(self.page.get_by_role("alert")).to_be_visible()

    def test_an_edit_does_not_undo_the_edit_of_another(self):
        token_id, _ = self.console.made("shared")
        self.open(f"/tokens/{token_id}/edit")
        self.console.cli("token", "update", token_id, "--owner", "ann")
        self.field("Owner").fill("bob")
        self.button("Save").click()
        expect(self.page.get_by_role("alert")).to_contain_text("Somebody else changed this token")
        self.sound(f"/tokens/{token_id}")
        expect(self.number("Owner")).to_have_text("ann")

    def test_several_tokens_are_revoked_and_lists_are_paged(self):
        space = f"many-{self.width}"
        with concurrent.futures.ThreadPoolExecutor(4) as several:
            create = lambda number: self.console.create(f"n{number}", "--namespace", space)
            list(several.map(create, range(52)))
        self.open(f"/tokens?namespace={space}")
        self.sound()
        rows = self.rows()
        expect(rows).to_have_count(50)
        self.link("Older tokens").click()
        expect(rows).to_have_count(2)
        self.link("The newest").click()
        expect(rows).to_have_count(50)
        for at in (0, 1, 2):
            rows.nth(at).get_by_role("checkbox").check()
        self.button("Revoke the selected…").click()
        expect(self.page.get_by_text("These 3 tokens will be revoked.")).to_be_visible()
        self.sound()
        self.field("Reason").fill("spring")
        self.button("Revoke them all").click()
        expect(self.page.get_by_text(": revoked")).to_have_count(3)
        self.sound()
        self.open(f"/tokens?namespace={space}&state=revoked")
        expect(rows).to_have_count(3)

    def test_a_lease_is_seen_and_taken_back(self):
        pool = f"gpu-{self.width}"
        for number in range(2):
            self.console.create(f"leased {number}", "--pool", pool)
        self.console.cli("lease", "acquire", "--pool", pool, "--holder", "worker-7", "--duration", "1h")
        self.sound("/pools")
        expect(self.rows().filter(has_text=pool).locator(".number")).to_have_text(["1", "1", "0", "0"])
        self.link(pool).click()
        held = self.rows().filter(has_text="worker-7")
        expect(held).to_have_count(1)
        self.sound()
        self.page.get_by_role("button", name=re.compile("^Take back .* from worker-7$")).click()
        expect(self.page.get_by_text("Nobody holds it.")).to_be_visible()
        self.sound()
        self.open(f"/pools/default/{pool}")
        expect(self.rows()).to_have_count(2)
        expect(held).to_have_count(0)
