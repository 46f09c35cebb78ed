//! Tests of callers that are known by their certificates, as the configuration names them.

use super::*;

fn parsed(entries: &str) -> Result<Vec<CertificateCaller>, String> {
    let table: toml::Table = format!("callers = [{entries}]").parse().unwrap();
    let Some(Value::Array(values)) = table.get("callers").cloned() else {
        panic!("no list: {entries}");
    };
    parse(values).map_err(|error| error.to_string())
}

#[test]
fn a_caller_has_a_name_one_uri_or_dns_name_and_permissions() {
    let callers = parsed(
        r#"{ name = "gateway", uri = "spiffe://td/gateway", permissions = ["validate@*"] },
           { name = "billing", dns = "Billing.Example.org", permissions = ["read@shop", "create"] }"#,
    );
    let callers = callers.unwrap();
    let told = |at: usize| {
        let CertificateCaller {
            name,
            shows,
            grants,
        } = &callers[at];
        (name.as_str(), shows.to_string(), grants.names())
    };
    assert_eq!(
        told(0),
        (
            "gateway",
            "spiffe://td/gateway".to_owned(),
            vec!["validate@*".to_owned()]
        )
    );
    let permissions = ["read@shop", "create@default"].map(str::to_owned).to_vec();
    assert_eq!(
        told(1),
        ("billing", "billing.example.org".to_owned(), permissions)
    );
}

#[test]
fn what_is_wrong_is_told_by_its_place() {
    let sound = r#"{ name = "a", dns = "a.example", permissions = ["read"] }, "#;
    for (entry, told) in [
        ("1", "[1]: must be a table of name"),
        (r#"{ name = "b" }"#, "[1]: must be a table of name"),
        (
            r#"{ name = "b", dns = "b", permissions = ["read"], extra = 1 }"#,
            "extra",
        ),
        (
            r#"{ name = "b", permissions = ["read"] }"#,
            "[1]: give either uri or dns",
        ),
        (
            r#"{ name = "b", dns = "b", uri = "x:b", permissions = ["read"] }"#,
            "[1]: give either uri or dns",
        ),
        (
            r#"{ name = "b c", dns = "b", permissions = ["read"] }"#,
            "[1].name: must be 1 to 63",
        ),
        (
            r#"{ name = "b", uri = "b", permissions = ["read"] }"#,
            "[1].uri: must be a URI",
        ),
        (
            r#"{ name = "b", dns = "*.b.example", permissions = ["read"] }"#,
            "[1].dns: must be a DNS name without a wildcard",
        ),
        (
            r#"{ name = "b", dns = "b", permissions = [] }"#,
            "[1].permissions: must name at least one",
        ),
        (
            r#"{ name = "b", dns = "b", permissions = ["reads"] }"#,
            "[1].permissions: must be one of",
        ),
        (
            r#"{ name = "b", dns = "A.example", permissions = ["read"] }"#,
            "[1]: a or a.example is there twice",
        ),
        (
            r#"{ name = "a", dns = "b", permissions = ["read"] }"#,
            "[1]: a or a.example is there twice",
        ),
    ] {
        let why = parsed(&format!("{sound}{entry}")).unwrap_err();
        assert!(why.contains(told), "{entry}: {why}");
        assert!(why.starts_with("access.certificate_callers[1]"), "{why}");
    }
}
