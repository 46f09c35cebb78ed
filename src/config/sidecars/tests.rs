//! The tables of ext_authz and forward-auth, and their errors.

use std::fs;

use super::*;
use crate::config::args::ServeArgs;
use crate::config::{Config, Environment};

fn with_file(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let args = ServeArgs {
        config: Some(path),
        ..ServeArgs::default()
    };
    Config::load(&args, &Environment::new())
}

#[test]
fn without_a_word_forward_auth_is_off_and_nobody_is_believed() {
    let config = with_file("").unwrap();
    assert_eq!(config.forward_auth.listen, []);
    assert!(config.forward_auth.trusted_peers.is_empty());
    assert_eq!(config.forward_auth.limited, Limited::TooManyRequests);
    let permissions = config.forward_auth.permissions.unwrap();
    assert_eq!(permissions.names(), ["validate@default"]);
    let ext_authz = config.ext_authz;
    assert!(ext_authz.certificate_peers.is_empty() && ext_authz.routes.is_empty());
    assert_eq!(ext_authz.credential_headers, ["x-api-key"]);
    assert_eq!(ext_authz.trusted_hops, 0);
    assert_eq!(
        (ext_authz.reset, &*ext_authz.realm),
        (Reset::Seconds, "token-authority")
    );
}

#[test]
fn routes_are_read_in_their_order() {
    let config = with_file(
        "[[ext_authz.route]]\nhost = \"*.shop.example.org\"\npath = \"/orders/**\"\nmethod = \"POST\"\n\
         namespace = \"shop\"\nrequired_scopes = [\"orders:write\"]\nowner = \"ann\"\ncost = 5\n\
         [[ext_authz.route]]\npath = \"/orders/**\"\nrequired_scopes = [\"orders:read\"]\n",
    );
    let routes = config.unwrap().ext_authz.routes;
    let demand = |host, method| routes.demand(host, method, "/orders/7").unwrap().unwrap();
    let writing = demand("a.shop.example.org:443", "POST");
    assert_eq!(
        (writing.cost, writing.owner.as_ref().unwrap().as_str()),
        (5, "ann")
    );
    let scopes = |text| vec![crate::domain::scope::RequiredScope::parse(text).unwrap()];
    assert_eq!(writing.required_scopes, scopes("orders:write"));
    let reading = demand("example.org", "POST");
    assert_eq!((reading.cost, &reading.owner), (1, &None));
    assert_eq!(reading.required_scopes, scopes("orders:read"));
    assert_eq!(routes.demand("example.org", "GET", "/"), Ok(None));
}

/// Each file is refused with an error that has this in it.
fn are_refused(files: &[(&str, &str)]) {
    for (file, told) in files {
        let error = with_file(file).unwrap_err().to_string();
        assert!(error.contains(told), "{file}: {error}");
    }
}

#[test]
fn errors_name_key_limit_and_value() {
    are_refused(&[
        (
            "[ext_authz]\nreset = \"ms\"\n",
            "ext_authz.reset: must be \"seconds\" or \"rfc3339\"; got \"ms\"",
        ),
        (
            "[ext_authz]\nrealm = \"a\\\"b\"\n",
            "ext_authz.realm: must be 1 to 128",
        ),
        (
            "[ext_authz]\ntrusted_hops = 17\n",
            "ext_authz.trusted_hops: must be 0 to 16; got 17",
        ),
        (
            "[ext_authz]\ncredential_headers = [\"x y\"]\n",
            "ext_authz.credential_headers[0]: must be the name",
        ),
        (
            "[ext_authz]\ncredential_headers = [\"Authorization\"]\n",
            "credential_headers[0]: may not be",
        ),
        (
            "[ext_authz]\ncredential_headers = [\"a\", \"A\"]\n",
            "credential_headers[1]: is there twice",
        ),
        (
            "[ext_authz]\ncertificate_peers = [7]\n",
            "ext_authz.certificate_peers[0]: must be a string",
        ),
        (
            "[forward_auth]\nlisten = \"192.0.2.1:1\"\n",
            "forward_auth.listen: 192.0.2.1:1 is beyond",
        ),
        (
            "[forward_auth]\nlisten = \"127.0.0.1:50051\"\n",
            "forward_auth.listen: 127.0.0.1:50051 is taken",
        ),
        (
            "[forward_auth]\ntrusted_peers = [\"unix\", \"10.0.0.1/8\"]\n",
            "forward_auth.trusted_peers[1]: ",
        ),
        (
            "[forward_auth]\ntrusted_hops = 0\n",
            "forward_auth.trusted_hops: must be 1 to 16; got 0",
        ),
        (
            "[forward_auth]\nlimited_status = 500\n",
            "forward_auth.limited_status: must be 429 or 403; got 500",
        ),
        (
            "[forward_auth]\npermissions = [\"admin\"]\n",
            "forward_auth.permissions: must be \"validate\"",
        ),
    ]);
}

#[test]
fn errors_of_routes_name_which_one() {
    let many = format!("[ext_authz]\nroute = [{}]\n", "{},".repeat(1025));
    are_refused(&[
        (
            "[[ext_authz.route]]\npath = \"orders\"\n",
            "ext_authz.route[0].path: must be a path",
        ),
        (
            "[[ext_authz.route]]\npath = \"GET /orders\"\n",
            "route[0].path: may not name a method",
        ),
        (
            "[[ext_authz.route]]\nhost = \"a:80\"\n",
            "ext_authz.route[0].host: must be a host",
        ),
        (
            "[[ext_authz.route]]\nmethod = \"G T\"\n",
            "ext_authz.route[0].method: a method must be",
        ),
        (
            "[[ext_authz.route]]\ncost = -1\n",
            "ext_authz.route[0].cost: must be 0 to",
        ),
        (
            "[[ext_authz.route]]\nnamespace = \"A\"\n",
            "ext_authz.route[0].namespace: ",
        ),
        (
            "[[ext_authz.route]]\nrequired_scopes = [\"a\", \"\"]\n",
            "route[0].required_scopes[1]: has 0 bytes",
        ),
        (
            "[[ext_authz.route]]\n[[ext_authz.route]]\nscopes = []\n",
            "ext_authz.route[1]: must be a table",
        ),
        (&many, "ext_authz.route: at most 1024 are allowed; got 1025"),
    ]);
}

#[test]
fn an_empty_list_of_permissions_gives_none() {
    let config = with_file("[forward_auth]\npermissions = []\n").unwrap();
    assert_eq!(config.forward_auth.permissions, None);
}
