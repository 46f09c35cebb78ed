"""Takes the screenshots of the main views, of a console with made-up tokens."""

from __future__ import annotations

import pathlib
import sys

import browsing

SIZES = {"": (1280, 900, "light"), "-phone-dark": (390, 844, "dark")}


def fill(console: browsing.Console) -> str:
    """Makes tokens and uses them; answers the id of one that is much used."""
    for name, owner in (("till 1", "shop"), ("till 2", "shop"), ("nightly report", "billing")):
        limits = ("--rate-limit", "600/1m", "--quota", "100000/30d", "--label", "env=prod")
        secret = console.create(name, "--owner", owner, "--scope", "orders:*", "--ttl", "30d", *limits)
        for path in ("/orders", "/orders", "/products/7"):
            console.cli("token", "validate", "--scope", "orders:read", "--method", "GET", "--path", path, secret=secret)
        console.cli("token", "validate", "--scope", "refunds:pay", "--method", "POST", "--path", "/refunds", secret=secret)
    console.create("contractor", "--owner", "ann", "--ttl", "48h")
    for _ in range(3):
        console.create("", "--pool", "gpu")
    console.cli("lease", "acquire", "--pool", "gpu", "--holder", "worker-7", "--duration", "1h")
    listed = console.cli("token", "list", "--owner", "billing")
    return listed.splitlines()[1].split()[0]


def main(folder: pathlib.Path) -> None:
    folder.mkdir(exist_ok=True)
    with browsing.console_on("sqlite") as console, browsing.chromium() as browser:
        busy = fill(console)
        views = {"overview": "/", "tokens": "/tokens", "token": f"/tokens/{busy}", "pool": "/pools/default/gpu"}
        for ending, (width, height, scheme) in SIZES.items():
            page = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme,
                timezone_id="UTC", locale="en-GB",
            ).new_page()
            browsing.sign_in(page, console)
            requests = page.locator("dt:text-is('Requests') + dd")
            browsing.until(lambda: page.reload() and requests.inner_text() == "12")
            for name, path in views.items():
                page.goto(console.url + path)
                page.screenshot(path=folder / f"console-{name}{ending}.png")


if __name__ == "__main__":
    browsing.servers.end_on_sigterm()
    main(pathlib.Path(sys.argv[1]))
