"""Each flow of the console in a real Chromium, on both stores, at two widths, in light and dark."""

from __future__ import annotations

import unittest

import browsing
import changing
import looking


class OnSqliteWide(looking.Looking, changing.Changing, browsing.Browsing):
    store, width = "sqlite", "wide"


class OnSqlitePhone(OnSqliteWide):
    width = "phone"


class OnRedisWide(OnSqliteWide):
    store = "redis"


class OnRedisPhone(OnRedisWide):
    width = "phone"


if __name__ == "__main__":
    browsing.servers.end_on_sigterm()
    unittest.main(verbosity=2)
