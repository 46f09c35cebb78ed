"""What one sees in the console, and what one may not; a part of its browser tests."""

from __future__ import annotations

import re

from playwright.sync_api import expect

import browsing


class Looking:
    """The tests, for a class that browses."""

    def test_a_wrong_secret_is_refused_in_words(self):
        self.button("Sign out").click()
        self.field("Secret").fill("wrong")
        self.button("Sign in").click()
        expect(self.page.get_by_role("alert")).to_contain_text("not in force")
        self.sound()

    def test_a_token_without_a_permission_is_refused_in_words(self):
        secret = self.console.create("plain", "--scope", "orders:read")
        self.button("Sign out").click()
        self.field("Secret").fill(secret)
        self.button("Sign in").click()
        expect(self.page.get_by_role("alert")).to_contain_text("has no permission")

    def test_who_signed_out_sees_no_page_any_more(self):
        self.open("/tokens")
        self.button("Sign out").click()
        self.headed("Sign in")
        self.page.go_back()
        self.headed("Sign in")
        self.open("/tokens")
        self.headed("Sign in")

    def test_a_session_ends_with_its_token_before_ones_eyes(self):
        token_id, secret = self.console.made("passing", "--scope", "authority:read")
        self.button("Sign out").click()
        browsing.sign_in(self.page, self.console, secret)
        self.headed("Overview")
        self.console.cli("token", "revoke", token_id)
        expect(self.button("Sign in")).to_be_visible()

    def test_whoever_may_only_read_is_shown_no_more(self):
        secret = self.console.create("reader", "--scope", "authority:read", "--rate-limit", "900/1m")
        self.button("Sign out").click()
        browsing.sign_in(self.page, self.console, secret)
        pages = self.page.get_by_role("navigation").get_by_role("link")
        expect(pages.get_by_text("Tokens", exact=True)).to_have_count(1)
        expect(pages.get_by_text("New token")).to_have_count(0)
        self.open("/tokens")
        self.sound()
        expect(self.page.locator("tbody input")).to_have_count(0)
        expect(self.button("Revoke the selected…")).to_have_count(0)
        self.link("reader").first.click()
        expect(self.page.get_by_role("heading", name="Details")).to_be_visible()
        for name in ("Edit", "Rotate…", "Revoke…", "Delete…"):
            expect(self.link(name)).to_have_count(0)
        for name in ("Disable", "Reset limits"):
            expect(self.button(name)).to_have_count(0)
        self.sound()
        self.open("/tokens/new")
        expect(self.page.get_by_role("alert")).to_contain_text("lacks the permission \"create\"")
        self.sound()

    def test_the_overview_counts_what_is_judged_without_a_reload(self):
        space = f"live-{self.width}"
        secret = self.console.create("counted", "--namespace", space)
        self.open(f"/?namespace={space}")
        self.page.evaluate("() => { window.untouched = true; }")
        expect(self.number("Active tokens")).to_have_text("1")
        expect(self.number("Requests")).to_have_text("0")
        self.assertIn("VALID", self.console.judged(secret, "--namespace", space, "--path", "/orders"))
        self.console.judged(secret, "--namespace", space, "--path", "/orders", "--scope", "a:b")
        expect(self.number("Requests")).to_have_text("2")
        self.assertTrue(self.page.evaluate("() => window.untouched"), "it was reloaded")
        expect(self.number("Successful")).to_have_text("1")
        expect(self.number("Failed")).to_have_text("1")
        expect(self.number("scope denied")).to_have_text("1")
        chart = self.page.get_by_role("img", name=re.compile("the busiest hour had 2"))
        expect(chart).to_be_visible()
        self.assertGreater(chart.locator("rect.bad").last.bounding_box()["height"], 10)
        self.page.get_by_text("The same as a table").click()
        hours = self.page.get_by_role("region", name="Requests per hour, as a table")
        expect(hours.locator("tbody tr")).to_have_count(1)
        expect(self.link("counted")).to_be_visible()
        self.sound()
        self.field("Window").select_option("30 days")
        self.button("Show").click()
        expect(self.number("Requests")).to_have_text("2")

    def test_tokens_are_found_by_what_they_are(self):
        space = f"filters-{self.width}"
        token_id, _ = self.console.made("one", "--namespace", space, "--owner", f"ann {space}")
        self.console.create("two", "--namespace", space, "--label", "env=prod", "--pool", "gpu")
        self.console.create("three", "--namespace", space, "--disabled")
        self.open("/tokens")
        for name, value, found in (
            ("Namespace", space, ["three", "two", "one"]), ("Owner", f"ann {space}", ["one"]),
            ("Label", "env=prod", ["two"]), ("Pool", "gpu", ["two"]), ("Owner", "nobody", []),
        ):
            with self.subTest(name):
                self.field("Namespace").fill(space)
                self.field(name).fill(value)
                self.button("Show").click()
                expect(self.rows()).to_have_count(len(found))
                expect(self.page.locator("tbody th a")).to_have_text(found)
                if name != "Namespace":
                    expect(self.field(name)).to_have_value(value)
                    self.field(name).fill("")
        expect(self.page.get_by_text("No token is as you asked.")).to_be_visible()
        self.sound()
        self.field("disabled").check()
        self.button("Show").click()
        expect(self.page.locator("tbody th a")).to_have_text(["three"])
        self.open("/tokens?label=env")
        expect(self.page.get_by_role("alert")).to_contain_text("key=value")
        self.find(token_id)
        self.headed("Token one")
        self.find(f"ann {space}")
        expect(self.page.locator("tbody th a")).to_have_text(["one"])
        self.find("0" * 22)
        expect(self.page.get_by_role("alert")).to_be_visible()
        self.sound()

    def test_a_token_tells_what_was_done_with_it(self):
        limits = ("--rate-limit", "60/1m", "--quota", "1000")
        token_id, secret = self.console.made("told", "--scope", "orders:read", *limits)
        self.console.judged(secret, "--method", "GET", "--path", "/orders/7", "--scope", "orders:read")
        recent = self.page.get_by_role("region", name="Recent requests").locator("tbody tr")
        browsing.until(lambda: self.open(f"/tokens/{token_id}") or recent.count())
        expect(recent).to_contain_text("GET /orders/7")
        limit = self.page.get_by_role("region", name="Limits").locator("tbody tr")
        expect(limit.filter(has_text="60/1m")).to_contain_text(re.compile("59|60"))
        expect(limit.filter(has_text="quota")).to_contain_text("999")
        versions = self.page.get_by_role("region", name="Secrets it knows").locator("tbody tr")
        expect(versions).to_have_count(1)
        expect(self.page.get_by_role("img", name=re.compile("had 1"))).to_be_visible()
        self.assertNotIn(secret, self.page.content())
        self.sound()

    def test_what_ends_soon_is_told_in_the_readers_time_with_utc_at_hand(self):
        space = f"ends-{self.width}"
        self.console.create("soon", "--ttl", "24h", "--namespace", space)
        self.console.create("late", "--ttl", "30d", "--namespace", space)
        self.open(f"/expiring?namespace={space}")
        expect(self.page.locator("tbody th a")).to_have_text(["soon"])
        time = self.page.locator("main time").first
        expect(time).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
        self.assertNotIn("UTC", time.inner_text())
        self.sound()

    def test_refusals_are_told(self):
        space = f"refused-{self.width}"
        secret = self.console.create("refused", "--namespace", space)
        self.console.judged(secret, "--namespace", space, "--scope", "a:b", "--path", "/orders")
        told = self.page.get_by_role("link", name="refused")
        browsing.until(lambda: self.open(f"/refusals?namespace={space}") or told.count())
        expect(self.page.get_by_role("row").nth(1)).to_contain_text("scope denied")
        self.sound()

    def test_namespaces_and_health_are_told(self):
        space = f"told-{self.width}"
        self.console.create("there", "--namespace", space)
        self.sound("/namespaces")
        expect(self.rows().filter(has_text=space)).to_contain_text("1")
        self.link(f"Tokens of {space}").click()
        expect(self.page.locator("tbody th a")).to_have_text(["there"])
        self.sound("/health")
        expect(self.number("Validate")).to_have_text("answers")
        expect(self.number("Changes")).to_have_text("are kept")
        expect(self.number("Store")).to_contain_text(re.compile(self.store, re.IGNORECASE))

    def test_every_other_page_is_sound(self):
        for path in ("/", "/me", "/pools", "/nowhere", "/tokens?namespace=empty", "/expiring"):
            with self.subTest(path):
                self.sound(path)
