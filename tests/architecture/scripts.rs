//! The rules of Lua scripts: a full header, one clock, whole keys, one inclusion. One prelude puts the
//! names of keys together for those that draw a token of a pool, and no other file does.

use super::source::{Breach, Source};

const HEADER_WORDS: [&str; 4] = ["KEYS", "ARGV", "Reply", "Atomic"];

/// What is put before the scripts on pooled tokens, behind their first line.
const PRELUDE: &str = "src/store/redis/scripts/tenure.lua";

/// Commands whose second argument is no key.
const KEYLESS: [&str; 2] = ["'INFO'", "'CONFIG'"];

pub(crate) fn a_script_says_what_it_does(script: &Source) -> Vec<Breach> {
    let mut lines = script.text.lines();
    let mut breaches = Vec::new();
    let first = lines.next().unwrap_or_default();
    if script.path == PRELUDE {
        if first.starts_with("#!") {
            let reason = "the prelude stands behind the first line of each script";
            breaches.push(script.breach(1, reason));
        }
    } else if !first.starts_with("#!lua") {
        let reason = "a script begins with '#!lua', so that undeclared keys are refused";
        breaches.push(script.breach(1, reason));
    }
    let header: Vec<&str> = lines.take_while(|line| line.starts_with("--")).collect();
    let missing = HEADER_WORDS
        .iter()
        .filter(|word| !header.iter().any(|line| line.contains(**word)));
    breaches.extend(
        missing.map(|word| script.breach(2, format!("the header comment does not say '{word}'"))),
    );
    breaches
}

pub(crate) fn a_script_asks_the_time_once(script: &Source) -> Vec<Breach> {
    let asked = code_lines(script).filter(|(_, code)| code.contains("redis.call('TIME'"));
    asked
        .skip(1)
        .map(|(line, _)| script.breach(line, "a second TIME: one act has one now"))
        .collect()
}

/// Keys come whole through `KEYS`, or from the prelude; text put together elsewhere in Lua names keys
/// that nobody declared.
pub(crate) fn a_script_gets_its_keys_whole(script: &Source) -> Vec<Breach> {
    if script.path == PRELUDE {
        return Vec::new();
    }
    let mut joined: Vec<String> = Vec::new();
    let mut breaches = Vec::new();
    for (line, code) in code_lines(script) {
        if let Some((name, value)) = code.trim().split_once('=')
            && value.contains("..")
        {
            let name = name.trim().trim_start_matches("local ");
            joined.push(name.trim().to_owned());
        }
        let beside_keys = joins_a_key(&code.split_whitespace().collect::<String>());
        let in_call = code.split("call(").skip(1).any(|call| {
            let mut arguments = call.split([',', ')']);
            let command = arguments.next().unwrap_or_default().trim();
            let key = arguments.next().unwrap_or_default().trim();
            !KEYLESS.contains(&command)
                && (key.contains("..")
                    || key.starts_with(['\'', '"'])
                    || joined.iter().any(|name| name == key))
        });
        if beside_keys || in_call {
            breaches.push(script.breach(line, "a key that did not come whole through KEYS"));
        }
    }
    breaches
}

/// Whether `text`, which has no blanks, puts something to an element of `KEYS`.
fn joins_a_key(text: &str) -> bool {
    text.match_indices("KEYS[").any(|(at, _)| {
        let after = text[at..].find(']').map_or("", |end| &text[at + end + 1..]);
        after.starts_with("..") || text[..at].ends_with("..")
    })
}

pub(crate) fn a_script_is_included_once(script: &Source, scripts_rs: &str) -> Vec<Breach> {
    let name = script.path.rsplit('/').next().unwrap_or_default();
    let inclusion = format!("include_str!(\"scripts/{name}\")");
    let times = scripts_rs
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.matches(&inclusion).count())
        .sum::<usize>();
    if times == 1 {
        return Vec::new();
    }
    let reason = format!("src/store/redis/scripts.rs has {times} of {inclusion}; one is wanted");
    vec![script.breach(1, reason)]
}

fn code_lines(script: &Source) -> impl Iterator<Item = (usize, &str)> {
    script
        .text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.split("--").next().unwrap_or_default()))
}

#[test]
fn a_complete_script_passes() {
    let script = Source::new(
        "src/store/redis/scripts/find_token.lua",
        "#!lua flags=no-writes\n-- Reads.\n-- KEYS[1] record\n-- ARGV none\n-- Reply: record\n\
         -- Atomic because of the clock.\nlocal now = redis.call('TIME')\n\
         local text = 'a' .. 'b'\nreturn redis.call('SET', KEYS[1], text .. 'x')\n",
    );
    assert!(a_script_says_what_it_does(&script).is_empty());
    assert!(a_script_asks_the_time_once(&script).is_empty());
    let breaches = a_script_gets_its_keys_whole(&script);
    assert!(breaches.is_empty(), "{breaches:?}");
    let scripts_rs = "static FIND: &str = include_str!(\"scripts/find_token.lua\");\n";
    assert!(a_script_is_included_once(&script, scripts_rs).is_empty());
}

#[test]
fn a_careless_script_breaks_each_rule() {
    let script = Source::new(
        "src/store/redis/scripts/bad.lua",
        "-- KEYS[1] record\nlocal a = redis.call('TIME')\nlocal b = redis.call('TIME')\n",
    );
    assert_eq!(a_script_says_what_it_does(&script).len(), 5);
    assert_eq!(a_script_asks_the_time_once(&script)[0].line, 3);
    assert_eq!(a_script_is_included_once(&script, "").len(), 1);
    assert_eq!(
        a_script_is_included_once(&script, &"include_str!(\"scripts/bad.lua\")\n".repeat(2)).len(),
        1
    );
}

#[test]
fn the_prelude_alone_may_put_keys_together() {
    let text = "-- Shared.\n-- KEYS ARGV Reply Atomic\nlocal function at(rest)\n  \
                return KEYS[1] .. rest\nend\n";
    let breaches = |path: &str| {
        let script = Source::new(path, text);
        a_script_gets_its_keys_whole(&script).len() + a_script_says_what_it_does(&script).len()
    };
    assert_eq!(breaches(PRELUDE), 0);
    assert_eq!(breaches("src/store/redis/scripts/other.lua"), 2);
}

#[test]
fn a_key_that_is_put_together_is_noticed() {
    for line in [
        "redis.call('GET', 'ta:' .. ARGV[1])",
        "redis.call('GET', KEYS[1] .. ':x')",
        "redis.call('GET', 'ta:marker')",
        "local key = KEYS[1]..':index'",
        "local key = ARGV[1] .. ':index'\nredis.call('GET', key)",
    ] {
        let script = Source::new("src/store/redis/scripts/bad.lua", line);
        assert_eq!(a_script_gets_its_keys_whole(&script).len(), 1, "{line}");
    }
}
