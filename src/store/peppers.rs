//! Whether the peppers in use are those that a store was used with, by the check values it keeps.
//!
//! A store learns a check value the first time it meets a pepper's id, before the first token is made
//! under that pepper, and never changes it. So a check value that is not there yet is harmless to
//! whoever reads, as no token can be under it; and one that differs means that no digest under that
//! id could be told from a wrong one: that is an outage, never an unknown token.

use std::collections::BTreeSet;

use crate::domain::pepper::PepperCheck;

use super::StoreError;

/// Compares the peppers in use with what the store keeps of each, in the same order. Answers those
/// of which it keeps nothing yet; an error if one is another.
pub(super) fn unkept(
    used: &[PepperCheck],
    kept: &[Option<Vec<u8>>],
) -> Result<Vec<PepperCheck>, StoreError> {
    let mut unkept = Vec::new();
    for (at, check) in used.iter().enumerate() {
        match kept.get(at).and_then(Option::as_ref) {
            None => unkept.push(*check),
            Some(value) if *value == check.value => {}
            Some(_) => {
                return Err(StoreError::Unacceptable(format!(
                    "pepper {} is not the one that this store was used with: configure that one \
                     again (secrets.peppers), or give the new one an id of its own",
                    check.id
                )));
            }
        }
    }
    Ok(unkept)
}

/// Those of the ids that a store was used with that are not in use, ascending. Tokens may still be
/// under them, or all may have been moved: only each token knows.
pub(super) fn missing(used: &[PepperCheck], kept: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let in_use = |id: &u32| used.iter().any(|check| check.id == *id);
    let missing: BTreeSet<u32> = kept.into_iter().filter(|id| !in_use(id)).collect();
    missing.into_iter().collect()
}

/// Tells the operator which peppers are missing before a token under one of them is asked for.
pub(super) fn tell_missing(missing: &[u32]) {
    if !missing.is_empty() {
        tracing::warn!(
            peppers = ?missing,
            "the store was used with peppers that are not configured (secrets.peppers); tokens whose \
             secret is still under one of them are answered UNAVAILABLE. If all were rotated, this \
             is as it should be"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: u32, byte: u8) -> PepperCheck {
        let value = [byte; 16];
        PepperCheck { id, value }
    }

    fn kept(byte: u8) -> Option<Vec<u8>> {
        Some(vec![byte; 16])
    }

    #[test]
    fn known_peppers_pass_and_new_ones_are_answered() {
        let used = [check(2, 2), check(1, 1)];
        assert_eq!(unkept(&used, &[kept(2), kept(1)]), Ok(vec![]));
        assert_eq!(unkept(&used, &[None, kept(1)]), Ok(vec![check(2, 2)]));
        assert_eq!(unkept(&used, &[]), Ok(used.to_vec()));
        assert_eq!(unkept(&[], &[]), Ok(vec![]));
    }

    #[test]
    fn peppers_of_before_that_are_not_in_use_are_missing() {
        let used = [check(2, 2)];
        assert_eq!(missing(&used, [3, 2, 1, 3]), [1, 3]);
        assert!(missing(&used, [2]).is_empty());
        assert_eq!(missing(&[], [1]), [1]);
    }

    #[test]
    fn another_pepper_under_a_known_id_is_an_outage_that_names_it() {
        for kept in [kept(9), Some(vec![]), Some(vec![1; 15])] {
            let used = [check(2, 2), check(1, 1)];
            let Err(StoreError::Unacceptable(why)) = unkept(&used, &[None, kept]) else {
                panic!("accepted")
            };
            assert!(why.starts_with("pepper 1 is not the one"), "{why}");
        }
    }
}
