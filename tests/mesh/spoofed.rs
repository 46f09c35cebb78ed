//! Clients who say of themselves what only the authority may say.

use crate::client::{self, bearer};
use crate::harness::named;
use crate::kinds::{Kind, kinds};
use crate::scene::Scene;

const NAMES: [&str; 6] = [
    "x-token-id",
    "x-token-owner",
    "x-token-namespace",
    "x-token-scopes",
    "x-token-fence",
    "x-validation-id",
];

/// What a client may write in the place of a header, and hope that the service reads as that.
fn variants(name: &str) -> Vec<Vec<String>> {
    let all = |names: &[String]| -> Vec<String> {
        names
            .iter()
            .map(|name| format!("{name}: spoofed"))
            .collect()
    };
    let dashes: Vec<_> = name.match_indices('-').map(|(at, _)| at).collect();
    let mut mixed = name.to_owned();
    mixed.replace_range(dashes[1]..=dashes[1], "_");
    let one = name.to_owned();
    let underscores = name.replace('-', "_");
    vec![
        all(std::slice::from_ref(&one)),
        all(&[name.to_uppercase()]),
        all(&[one.clone(), one.clone()]),
        all(std::slice::from_ref(&underscores)),
        all(&[underscores.to_uppercase()]),
        all(&[mixed]),
        all(&[one, underscores]),
    ]
}

async fn none_arrives(kind: &Kind, mesh: &mut Scene) {
    // Without owner and lease, so that nothing takes the place of two of them.
    let (token, secret) = mesh.token(named("client")).await;
    let mut tried = 0;
    for name in NAMES {
        for variant in variants(name) {
            let mut headers = variant.clone();
            headers.push(bearer(&secret));
            let told = client::ask(mesh.ingress(), "GET", "/orders", &headers).await;
            tried += 1;
            assert!(
                !told.body.contains("spoofed"),
                "{variant:?} of {kind:?}: {told:?}"
            );
            if told.status == 200 {
                assert_eq!(told.seen("x-token-id"), [token.token_id.as_str()]);
            } else {
                assert_eq!(told.status, 400, "{variant:?} of {kind:?}: {told:?}");
                assert!(
                    variant.iter().any(|header| header.contains('_')),
                    "{variant:?}"
                );
            }
        }
    }
    assert!(tried >= 40, "{tried}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identity_headers_of_a_client_never_arrive() {
    for kind in kinds() {
        none_arrives(&kind, &mut Scene::of(&kind).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_where_the_authority_alone_removes_them() {
    for kind in kinds() {
        let authority = crate::harness::Authority::before_sqlite_start();
        let mut mesh = Scene::with(&kind, authority, |changes| {
            changes.add("action: REJECT_REQUEST }", "action: ALLOW }");
            for name in NAMES {
                changes.add(&format!("- remove: {name}\n"), "- remove: x-nothing\n");
            }
        })
        .await;
        none_arrives(&kind, &mut mesh).await;
        // What a route below which nobody is asked does not do.
        let asked = ["x-token-id: spoofed".to_owned()];
        let open = client::ask(mesh.ingress(), "GET", "/healthz", &asked).await;
        assert_eq!(open.status, 200);
    }
}
