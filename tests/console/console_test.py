"""Each flow of the console in a real Chromium, on both stores, at two widths, in light and dark."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import unittest

import browsing
import changing
import looking

SECONDS_MAX = 480


class OnSqliteWide(looking.Looking, changing.Changing, browsing.Browsing):
    store, width = "sqlite", "wide"


class OnSqlitePhone(OnSqliteWide):
    width = "phone"


class OnRedisWide(OnSqliteWide):
    store = "redis"


class OnRedisPhone(OnRedisWide):
    width = "phone"


EVERYTHING = (("OnSqliteWide", "OnSqlitePhone"), ("OnRedisWide", "OnRedisPhone"))
# Each store, and each width, once.
FEW = (("OnSqlitePhone",), ("OnRedisWide",))


def side_by_side(stores: tuple[tuple[str, ...], ...]) -> int:
    """Runs the stores at the same time, each in a process of its own: much of a flow is waiting."""
    command = [sys.executable, str(pathlib.Path(__file__).resolve())]
    children = [
        subprocess.Popen([*command, *classes], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for classes in stores
    ]
    failed = 0
    try:
        for child in children:
            told, _ = child.communicate(timeout=SECONDS_MAX)
            sys.stdout.buffer.write(told)
            sys.stdout.flush()
            failed += child.returncode != 0
    finally:
        for child in children:
            child.terminate()
            child.wait()
    return failed


if __name__ == "__main__":
    browsing.servers.end_on_sigterm()
    if len(sys.argv) == 1:
        sys.exit(side_by_side(EVERYTHING))
    if sys.argv[1:] == ["few"]:
        sys.exit(side_by_side(FEW))
    unittest.main(verbosity=2)
