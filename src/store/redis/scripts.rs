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
    ($($name:ident: $file:literal,)*) => {
        $(pub(super) static $name: Script = Script::new(include_str!(concat!("scripts/", $file)));)*

        #[cfg(test)]
        static ALL: &[(&str, &Script)] = &[$(($file, &$name)),*];
    };
}

scripts! {
    READ_TOKEN: "read_token.lua",
    READ_REQUEST: "read_request.lua",
    CREATE_TOKEN: "create_token.lua",
    REPLACE_TOKEN: "replace_token.lua",
    DELETE_TOKEN: "delete_token.lua",
    CLAIM_REQUEST: "claim_request.lua",
    END_CLAIM: "end_claim.lua",
    ADD_ENTRY: "add_entry.lua",
    REMOVE_ENTRY: "remove_entry.lua",
    INIT_STORE: "init_store.lua",
    ACCEPT_WRITES: "accept_writes.lua",
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
    fn every_script_file_is_in_use_and_explains_itself() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/redis/scripts");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let mut known: Vec<&str> = ALL.iter().map(|(file, _)| *file).collect();
        known.sort_unstable();
        assert_eq!(files, known);
        for (file, script) in ALL {
            let header: String = script
                .code
                .lines()
                .skip(1)
                .take_while(|line| line.starts_with("--"))
                .collect();
            assert!(script.code.starts_with("#!lua"), "{file}");
            for word in ["KEYS", "ARGV", "Reply", "Atomic"] {
                assert!(header.contains(word), "{file} does not explain {word}");
            }
        }
    }

    #[test]
    fn no_script_asks_for_the_time_twice() {
        for (file, script) in ALL {
            assert!(
                script.code.matches("redis.call('TIME')").count() <= 1,
                "{file}"
            );
        }
    }

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
