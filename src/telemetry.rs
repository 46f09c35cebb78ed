//! Logs: to standard error, for people or machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;
use crate::trail::TARGET;

/// Sets the process's log up, once. The error says what is wrong with the filter.
pub fn init(log: &LogConfig) -> Result<(), String> {
    let filter = filter(&log.filter).map_err(|error| format!("log.filter: {error}"))?;
    let stderr = std::io::stderr;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr);
    let set = if log.json {
        logs.json().try_init()
    } else {
        logs.try_init()
    };
    set.map_err(|error| error.to_string())
}

/// The filter, which lets audit lines pass whatever its level, unless it names them itself.
fn filter(text: &str) -> Result<EnvFilter, Box<dyn std::error::Error>> {
    let target = |directive: &str| directive.trim().split(['=', '[']).next() == Some(TARGET);
    let filter = EnvFilter::try_new(text)?;
    if text.split(',').any(target) {
        return Ok(filter);
    }
    Ok(filter.add_directive(format!("{TARGET}=info").parse()?))
}
