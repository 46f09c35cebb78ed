//! The Lua scripts: one file per act, called by hash, or whole where Redis does not know them. Those
//! on pooled tokens have a prelude, which alone puts names of keys together.

use std::sync::OnceLock;

use redis::{Cmd, cmd};

use super::keys::slot_text;

/// A script and its hash.
pub(super) struct Script {
    code: &'static str,
    /// What stands behind the first line, which Redis reads.
    prelude: Option<&'static str>,
    whole: OnceLock<(String, String)>,
}

impl Script {
    const fn new(code: &'static str, prelude: Option<&'static str>) -> Self {
        Self {
            code,
            prelude,
            whole: OnceLock::new(),
        }
    }

    /// All of its text, and the hash of that.
    fn whole(&self) -> (&str, &str) {
        let (text, sha1) = self.whole.get_or_init(|| {
            let text = match (self.prelude, self.code.split_once('\n')) {
                (Some(prelude), Some((first, rest))) => format!("{first}\n{prelude}{rest}"),
                _ => self.code.to_owned(),
            };
            let sha1 = redis::Script::new(&text).get_hash().to_owned();
            (text, sha1)
        });
        (text, sha1)
    }

    /// A call of this script; all `keys` must share one slot.
    pub(super) fn call<const KEYS: usize>(&'static self, keys: [String; KEYS]) -> Call {
        debug_assert!(
            keys.windows(2)
                .all(|pair| slot_text(&pair[0]) == slot_text(&pair[1])),
            "a script was given the keys of two slots: {keys:?}"
        );
        self.call_on(keys.into())
    }

    /// A call of this script on keys of any slots, which only a Redis that is no cluster takes.
    pub(super) fn call_on(&'static self, keys: Vec<String>) -> Call {
        Call {
            script: self,
            keys,
            args: Vec::new(),
        }
    }
}

macro_rules! scripts {
    ($prelude:expr; $($name:ident: $code:expr,)*) => {
        $(pub(super) static $name: Script = Script::new($code, $prelude);)*
    };
}

scripts! {
    None;
    READ_TOKEN: include_str!("scripts/read_token.lua"),
    READ_TOKENS: include_str!("scripts/read_tokens.lua"),
    READ_REQUEST: include_str!("scripts/read_request.lua"),
    CREATE_TOKEN: include_str!("scripts/create_token.lua"),
    REPLACE_TOKEN: include_str!("scripts/replace_token.lua"),
    DELETE_TOKEN: include_str!("scripts/delete_token.lua"),
    TAKE_USE: include_str!("scripts/take_use.lua"),
    CLAIM_REQUEST: include_str!("scripts/claim_request.lua"),
    END_CLAIM: include_str!("scripts/end_claim.lua"),
    VANISH_TOKEN: include_str!("scripts/vanish_token.lua"),
    CLEAR_REMAINS: include_str!("scripts/clear_remains.lua"),
    NOTE_DUE: include_str!("scripts/note_due.lua"),
    SETTLE_DUE: include_str!("scripts/settle_due.lua"),
    NOTE_MARK: include_str!("scripts/note_mark.lua"),
    APPEND_EVENTS: include_str!("scripts/append_events.lua"),
    DROP_EVENTS: include_str!("scripts/drop_events.lua"),
    READ_EVENTS: include_str!("scripts/read_events.lua"),
    TAKE_TURN: include_str!("scripts/take_turn.lua"),
    NOTE_OUT: include_str!("scripts/note_out.lua"),
    FOLD_LEDGER: include_str!("scripts/fold_ledger.lua"),
    DROP_STRAY: include_str!("scripts/drop_stray.lua"),
    ADD_ENTRY: include_str!("scripts/add_entry.lua"),
    KEEP_PEPPERS: include_str!("scripts/keep_peppers.lua"),
    INIT_STORE: include_str!("scripts/init_store.lua"),
    ACCEPT_WRITES: include_str!("scripts/accept_writes.lua"),
    SEE_AUTHORITY: include_str!("scripts/see_authority.lua"),
    MAKE_REGISTRY: include_str!("scripts/make_registry.lua"),
    RENEW_REPLICA: include_str!("scripts/renew_replica.lua"),
    ANNOUNCE_CHANGES: include_str!("scripts/announce_changes.lua"),
    STRIKE_REPLICAS: include_str!("scripts/strike_replicas.lua"),
}

const TENURE: &str = include_str!("scripts/tenure.lua");

scripts! {
    Some(TENURE);
    CREATE_POOLED: include_str!("scripts/create_pooled.lua"),
    REPLACE_POOLED: include_str!("scripts/replace_pooled.lua"),
    DELETE_POOLED: include_str!("scripts/delete_pooled.lua"),
    VANISH_POOLED: include_str!("scripts/vanish_pooled.lua"),
    ACQUIRE_LEASE: include_str!("scripts/acquire_lease.lua"),
    RELEASE_LEASE: include_str!("scripts/release_lease.lua"),
    KEEP_LEASE: include_str!("scripts/keep_lease.lua"),
    AMEND_TENURE: include_str!("scripts/amend_tenure.lua"),
    LEAVE_QUEUE: include_str!("scripts/leave_queue.lua"),
    COUNT_POOL: include_str!("scripts/count_pool.lua"),
    TAKE_OUTBOX: include_str!("scripts/take_outbox.lua"),
    TRIM_OUTBOX: include_str!("scripts/trim_outbox.lua"),
}

/// One call of a script, that can be sent in two forms.
pub(super) struct Call {
    script: &'static Script,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Call {
    /// Adds a key, of the slot of the others.
    pub(super) fn key(mut self, key: String) -> Self {
        debug_assert!(
            self.keys
                .iter()
                .all(|known| slot_text(known) == slot_text(&key)),
            "{key} is of another slot than {:?}",
            self.keys
        );
        self.keys.push(key);
        self
    }

    pub(super) fn arg(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.args.push(value.into());
        self
    }

    /// The call by hash: short, but refused with `NOSCRIPT` by a Redis that never saw the script.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.script.whole().1)
    }

    /// The call with the script itself: always understood, and remembered.
    pub(super) fn whole(&self) -> Cmd {
        self.command("EVAL", self.script.whole().0)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(script).arg(self.keys.len());
        self.keys.iter().for_each(|key| {
            command.arg(key);
        });
        self.args.iter().for_each(|arg| {
            command.arg(arg);
        });
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permits::{BATCHES_MAX, HELD_PART, QUOTA_PART, RETURN_MAX, TERM};

    #[test]
    fn both_forms_of_a_call_carry_the_same_keys_and_arguments() {
        let call = READ_TOKEN.call(["k".to_owned()]).arg("a");
        let tail = |command: Cmd| {
            let packed = command.get_packed_command();
            let text = String::from_utf8(packed).unwrap();
            text[text.rfind("$1\r\n1").unwrap()..].to_owned()
        };
        assert_eq!(tail(call.by_hash()), tail(call.whole()));
    }

    #[test]
    fn batches_are_granted_by_the_numbers_of_the_rule() {
        let numbers = [
            ("TERM", TERM.as_micros()),
            ("RETURN_MAX", RETURN_MAX.as_micros()),
            ("HELD_PART", HELD_PART.into()),
            ("QUOTA_PART", QUOTA_PART.into()),
            ("BATCHES_MAX", BATCHES_MAX as u128),
        ];
        for (name, number) in numbers {
            let line = format!("\nlocal {name} = {number}\n");
            assert!(TAKE_USE.whole().0.contains(&line), "{line}");
        }
    }

    #[test]
    fn a_prelude_stands_behind_the_line_that_redis_reads() {
        let (text, _) = RELEASE_LEASE.whole();
        assert!(text.starts_with("#!lua flags=allow-oom\n-- What"), "{text}");
        assert_eq!(text.matches("#!lua").count(), 1);
        assert!(READ_TOKEN.whole().0.ends_with("GET', KEYS[2]) }\n"));
    }
}
