//! A child process that is ended, by its id, when the test that started it is over.

use std::process::{Child, Command, Stdio};

/// A running child; killed and reaped when dropped.
pub(crate) struct OwnedChild(pub(crate) Child);

impl OwnedChild {
    /// Starts `command` without standard input.
    pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        command.stdin(Stdio::null()).spawn().map(Self)
    }

    /// Sends a signal by the `kill` program, since this crate has no unsafe code.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("kill runs").success(), "SIG{name} to {id}");
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        // Either fails only when the child has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
