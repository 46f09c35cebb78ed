//! The Lua scripts: one file per act, called by hash, or whole where Redis does not know them.

use std::sync::OnceLock;

use redis::{Cmd, cmd};

use super::keys::slot_text;

/// A script and its hash.
pub(super) struct Script {
    code: &'static str,
    sha1: OnceLock<String>,
}

impl Script {
    const fn new(code: &'static str) -> Self {
        Self {
            code,
            sha1: OnceLock::new(),
        }
    }

    fn sha1(&self) -> &str {
        self.sha1
            .get_or_init(|| redis::Script::new(self.code).get_hash().to_owned())
    }

    /// A call of this script; all `keys` must share one slot.
    pub(super) fn call<const KEYS: usize>(&'static self, keys: [String; KEYS]) -> Call {
        debug_assert!(
            keys.windows(2)
                .all(|pair| slot_text(&pair[0]) == slot_text(&pair[1])),
            "a script was given the keys of two slots: {keys:?}"
        );
        Call {
            script: self,
            keys: keys.into(),
            args: Vec::new(),
        }
    }
}

macro_rules! scripts {
    ($($name:ident: $code:expr,)*) => {
        $(pub(super) static $name: Script = Script::new($code);)*
    };
}

scripts! {
    READ_TOKEN: include_str!("scripts/read_token.lua"),
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
    ADD_ENTRY: include_str!("scripts/add_entry.lua"),
    KEEP_PEPPERS: include_str!("scripts/keep_peppers.lua"),
    INIT_STORE: include_str!("scripts/init_store.lua"),
    ACCEPT_WRITES: include_str!("scripts/accept_writes.lua"),
}

/// One call of a script, that can be sent in two forms.
pub(super) struct Call {
    script: &'static Script,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn arg(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.args.push(value.into());
        self
    }

    /// The call by hash: short, but refused with `NOSCRIPT` by a Redis that never saw the script.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.script.sha1())
    }

    /// The call with the script itself: always understood, and remembered.
    pub(super) fn whole(&self) -> Cmd {
        self.command("EVAL", self.script.code)
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
}
