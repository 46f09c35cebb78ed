"""Takes the screenshots of the main views, in light and 1280 wide, of a console with made-up tokens."""

from __future__ import annotations

import pathlib
import sys

import browsing

SIZE = {"width": 1280, "height": 900}
BYTES_MAX = 200 * 1000
# Name, owner, how often it may ask, and for how long it lives.
TOKENS = (
    ("nightly report", "billing", "60/1m", "90d"),
    ("invoices", "billing", "600/1m", "90d"),
    ("contractor", "ann", "10/1s", "48h"),
    ("warehouse scanner", "logistics", "100/1m", "365d"),
    ("till 1", "shop", "600/1m", "30d"),
    ("till 2", "shop", "600/1m", "30d"),
)
ASKED = (
    ("orders:read", "GET", "/orders"), ("orders:read", "GET", "/orders"), ("orders:read", "GET", "/products/7"),
    ("orders:write", "POST", "/orders"), ("refunds:pay", "POST", "/refunds"),
)
DRAFT = {
    "Name": "till 3", "Owner": "shop", "Description": "The till by the south door.",
    "Scopes": "orders:read\norders:write", "Endpoints": "GET /orders/**\nPOST /orders",
}


def fill(console: browsing.Console) -> str:
    """Makes tokens and uses them; answers the id of one that is used."""
    for name, owner, rate, ttl in TOKENS:
        limits = ("--rate-limit", rate, "--quota", "100000/30d", "--label", "env=prod")
        busy, secret = console.made(name, "--owner", owner, "--scope", "orders:*", "--ttl", ttl, *limits)
        for scope, method, path in ASKED:
            console.judged(secret, "--scope", scope, "--method", method, "--path", path)
    console.create("retired till", "--owner", "shop", "--disabled")
    for number in (1, 2, 3):
        console.create(f"gpu {number}", "--pool", "gpu")
    for holder in ("worker-3", "worker-7"):
        console.cli("lease", "acquire", "--pool", "gpu", "--holder", holder, "--duration", "1h")
    return busy


def main(folder: pathlib.Path) -> None:
    folder.mkdir(exist_ok=True)
    with browsing.console_on("sqlite") as console, browsing.chromium() as browser:
        busy = fill(console)
        page = browser.new_page(viewport=SIZE, color_scheme="light", timezone_id="UTC", locale="en-GB")
        browsing.sign_in(page, console)
        requests = page.locator("dt:text-is('Requests') + dd")
        browsing.until(lambda: page.reload() and requests.inner_text() == str(len(TOKENS) * len(ASKED)))
        views = {
            "overview": "/", "tokens": "/tokens", "token": f"/tokens/{busy}", "create": "/tokens/new",
            "pools": "/pools/default/gpu",
        }
        for name, path in views.items():
            page.goto(console.url + path)
            for label, text in DRAFT.items() if name == "create" else ():
                page.get_by_label(label, exact=True).fill(text)
            taken = folder / f"{name}.png"
            page.screenshot(path=taken)
            if taken.stat().st_size > BYTES_MAX:
                raise RuntimeError(f"{taken} is larger than {BYTES_MAX} bytes")


if __name__ == "__main__":
    browsing.servers.end_on_sigterm()
    main(pathlib.Path(sys.argv[1]))
