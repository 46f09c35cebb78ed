//! Peppers: whether those in use are those that the store was used with.

use crate::store::StoreError;

use super::{Finding, Findings};

const SUBJECT: &str = "peppers";

/// Judges which of the peppers in use the store does not know yet, and which it knows that are not
/// in use; `None` where it does not tell.
pub(super) fn judged(unkept: &Result<Vec<u32>, StoreError>, missing: Option<&[u32]>) -> Findings {
    let in_use = match unkept {
        Err(error) => Finding::fail(
            SUBJECT,
            error.to_string(),
            "secrets under another pepper cannot be told from wrong ones: find the right one",
        ),
        Ok(unkept) if unkept.is_empty() => Finding::ok(SUBJECT, "the store's"),
        Ok(_) => Finding::ok(
            SUBJECT,
            "new to the store, which learns them at the next start",
        ),
    };
    let of_before = match missing {
        None => Some(Finding::warn(
            SUBJECT,
            "not checked: whether the store was used with others, as its user may not ask",
            "grant the user +hkeys, as deploy/redis/users.acl.example does",
        )),
        Some([]) => None,
        Some(missing) => Some(not_configured(missing)),
    };
    std::iter::once(in_use).chain(of_before).collect()
}

/// No failure, because only the tokens tell whether one of them is still under such a pepper, and
/// one that was taken out after all tokens were moved is as it should be.
fn not_configured(missing: &[u32]) -> Finding {
    let ids: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let found = match ids.as_slice() {
        [id] => format!("the store was used with pepper {id}, which is not configured"),
        _ => format!(
            "the store was used with peppers {}, which are not configured",
            ids.join(", ")
        ),
    };
    Finding::warn(
        SUBJECT,
        found,
        "tokens whose secret is still under it are answered UNAVAILABLE: configure it again \
         (secrets.peppers), or rotate them; if all were rotated before it was taken out, this is \
         as it should be",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Judgement;
    use super::*;

    fn warned(missing: Option<&[u32]>) -> Option<String> {
        let found = judged(&Ok(Vec::new()), missing);
        assert_eq!(found[0].judgement, Judgement::Ok);
        let odd = found.get(1)?;
        assert!(matches!(odd.judgement, Judgement::Warn { .. }));
        Some(odd.found.clone())
    }

    #[test]
    fn a_pepper_of_before_that_is_not_configured_is_told_by_its_id() {
        assert_eq!(warned(Some(&[])), None);
        let told = warned(Some(&[1])).unwrap();
        assert_eq!(
            told,
            "the store was used with pepper 1, which is not configured"
        );
        assert!(
            warned(Some(&[1, 3]))
                .unwrap()
                .contains("peppers 1, 3, which")
        );
        assert!(warned(None).unwrap().starts_with("not checked"));
    }
}
