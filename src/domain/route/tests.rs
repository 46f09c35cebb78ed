//! Tables and properties of routes.

use super::*;
use proptest::prelude::*;

fn route(host: &str, method: &str, path: &str, cost: u64) -> Route {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Route {
        host: given(host).map(|host| Host::parse(&host).unwrap()),
        path: given(path).map(|path| Pattern::parse(&path).unwrap()),
        method: given(method),
        demand: Demand {
            cost,
            ..Demand::default()
        },
    }
}

fn routes() -> Routes {
    Routes::new(vec![
        route("admin.example.org", "", "", 1),
        route("*.shop.example.org", "", "", 2),
        route("", "DELETE", "/orders/**", 3),
        route("", "", "/orders/**", 4),
    ])
}

fn cost(host: &str, method: &str, path: &str) -> Result<Option<u64>, Flaw> {
    let routes = routes();
    let demand = routes.demand(host, method, path)?;
    Ok(demand.map(|demand| demand.cost))
}

#[test]
fn the_first_route_that_matches_counts() {
    for (host, method, path, expected) in [
        ("admin.example.org", "DELETE", "/orders/7", Some(1)),
        ("ADMIN.example.org.:8443", "GET", "/", Some(1)),
        ("a.shop.example.org", "GET", "/orders", Some(2)),
        ("a.b.shop.example.org:80", "GET", "/", Some(2)),
        ("shop.example.org", "GET", "/", None),
        ("notshop.example.org", "GET", "/orders?x=../", Some(4)),
        ("[2001:db8::1]:443", "DELETE", "/orders/7", Some(3)),
        ("127.0.0.1:80", "GET", "/orders/7", Some(4)),
        ("example.org", "GET", "/orders-admin", None),
    ] {
        assert_eq!(
            cost(host, method, path),
            Ok(expected),
            "{host} {method} {path}"
        );
    }
}

#[test]
fn what_could_slip_past_its_route_is_refused() {
    for path in [
        "",
        "orders",
        "/a/../orders",
        "/a/..;x/orders",
        "//orders",
        "/orders//7",
        "/%2e%2e/orders",
        "/orders%2F7",
        "/ord%65rs%",
        "/orders\\7",
        "/%ff",
        "/a%00",
        "/./orders",
        "*",
    ] {
        assert!(cost("example.org", "GET", path).is_err(), "{path}");
    }
    for host in [
        "",
        "a b",
        "user@admin.example.org",
        "admin..org",
        "[::1",
        "x:80:80",
        "x:port",
    ] {
        assert!(cost(host, "GET", "/").is_err(), "{host}");
    }
    for method in ["", "delete", "Delete", "GET /x"] {
        assert!(cost("example.org", method, "/").is_err(), "{method}");
    }
}

#[test]
fn what_no_route_asks_about_is_not_looked_at() {
    let routes = Routes::new(vec![route("", "", "", 7)]);
    let demand = routes.demand("", "get", "/../").unwrap();
    assert_eq!(demand.map(|demand| demand.cost), Some(7));
    assert_eq!(Routes::default().demand("", "", ""), Ok(None));
}

#[test]
fn an_error_never_shows_a_query() {
    let error = cost("example.org", "GET", "/a/../b?key=canary").unwrap_err();
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[test]
fn hosts_are_names_and_addresses_without_ports() {
    assert_eq!(
        Host::parse("Shop.Example.org"),
        Ok(Host::Exact("shop.example.org".into()))
    );
    assert_eq!(
        Host::parse("*.example.org"),
        Ok(Host::Below(".example.org".into()))
    );
    assert_eq!(
        Host::parse("[2001:db8::1]"),
        Ok(Host::Exact("[2001:db8::1]".into()))
    );
    for wrong in [
        "",
        "*",
        "*.",
        "a.*.b",
        "a:80",
        "[::1]:80",
        "*.[::1]",
        "a/b",
        "a.",
        "é.example",
    ] {
        let flaw = Host::parse(wrong).unwrap_err().to_string();
        assert!(flaw.contains("without a port"), "{wrong}: {flaw}");
    }
}

proptest! {
    #[test]
    fn rubbish_never_panics(host in ".{0,40}", method in ".{0,20}", path in ".{0,60}") {
        let _ = (Host::parse(&host), routes().demand(&host, &method, &path));
    }

    /// However an attacker writes a path, it is refused or meets what its plain form meets.
    #[test]
    fn no_spelling_of_a_path_meets_a_weaker_route(
        noise in proptest::sample::select(vec!["", "./", "../x/", "/", "%2e%2e/", "%2F", "a/%2e%2e/", ";/"]),
        spelt in proptest::sample::select(vec!["orders", "order%73", "%6frders", "ORDERS", "orders;a"]),
    ) {
        let path = format!("/{noise}{spelt}/7");
        match cost("example.org", "GET", &path) {
            Ok(Some(met)) => prop_assert_eq!(met, 4),
            Ok(None) => prop_assert!(noise == ";/" || spelt == "ORDERS" || spelt == "orders;a", "{}", path),
            Err(_) => {}
        }
    }
}
