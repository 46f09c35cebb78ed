//! Tests of the form of a token.

use super::*;

fn filled() -> TokenForm {
    TokenForm {
        namespace: "shop".to_owned(),
        name: "till 7".to_owned(),
        scopes: "orders:read\n\n orders:write ".to_owned(),
        rate_limits: "100/1m\nburst=5/1s,burst=20".to_owned(),
        quota: "1000/30d".to_owned(),
        labels: "env = prod\nnote=a=b".to_owned(),
        expires: "30d".to_owned(),
        ..TokenForm::default()
    }
}

#[test]
fn what_is_typed_is_what_a_client_would_send() {
    let request = filled().create().unwrap();
    assert_eq!(request.scopes, ["orders:read", "orders:write"]);
    assert_eq!(request.rate_limits[1].name, "burst");
    assert_eq!(request.rate_limits[1].burst, 20);
    assert_eq!(request.quota.unwrap().limit, 1000);
    assert_eq!(request.labels["env"], "prod");
    assert_eq!(request.labels["note"], "a=b");
    let month = prost_types::Duration {
        seconds: 30 * 86_400,
        nanos: 0,
    };
    assert_eq!(request.expiration, Some(Expiration::Ttl(month)));
}

#[test]
fn each_unreadable_text_is_named_by_its_field() {
    let form = TokenForm {
        rate_limits: "many".to_owned(),
        quota: "x".to_owned(),
        labels: "env".to_owned(),
        expires: "2030-13-01".to_owned(),
        keep_alive_ttl: "soon".to_owned(),
        ..TokenForm::default()
    };
    let flaws = form.create().unwrap_err();
    for field in [
        "rate_limits",
        "quota",
        "labels",
        "expires",
        "keep_alive_ttl",
    ] {
        assert!(!flaws.about(field).is_empty(), "{field}");
    }
}

#[test]
fn an_unchanged_form_changes_nothing_and_a_changed_one_only_that() {
    let token = pb::Token {
        name: " till ".to_owned(),
        scopes: vec!["a".to_owned(), "b".to_owned()],
        expire_time: Some(Timestamp {
            seconds: 2_000_000_000,
            nanos: 5_000_000,
        }),
        ..pb::Token::default()
    };
    let before = TokenForm::of(&token);
    let paths = |form: &TokenForm| {
        let request = form.update(&before, "id", 7).unwrap();
        request.update_mask.unwrap().paths
    };
    assert_eq!(paths(&before), [""; 0]);
    let mut changed = before.clone();
    changed.scopes = "a".to_owned();
    changed.expires = "2040-01-31 12:00".to_owned();
    assert_eq!(paths(&changed), ["scopes", "expire_time"]);
    let request = changed.update(&before, "id", 7).unwrap();
    let end = request.token.unwrap().expire_time.unwrap();
    assert_eq!(end.to_string(), "2040-01-31T12:00:00Z");
}

#[test]
fn an_instant_is_read_in_its_zone_or_in_utc() {
    for (text, expected) in [
        ("2030-01-31", "2030-01-31T00:00:00Z"),
        ("2030-01-31T12:30", "2030-01-31T12:30:00Z"),
        ("2030-01-31T12:30:15.5Z", "2030-01-31T12:30:15.500Z"),
        ("2030-01-31T12:30:15+02:00", "2030-01-31T10:30:15Z"),
    ] {
        let mut flaws = Flaws::default();
        let read = instant(text, &mut flaws).map(|at| at.to_string());
        assert_eq!(read.as_deref(), Some(expected));
    }
}
