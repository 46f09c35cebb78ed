//! The only place that prints: answers to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

/// Where a command's words go.
pub(super) struct Output {
    answers: Box<dyn Write>,
    notes: Box<dyn Write>,
    terminal: bool,
}

impl Output {
    /// The process's own standard output and error.
    pub(super) fn standard() -> Self {
        let terminal = io::stdout().is_terminal();
        Self::new(Box::new(io::stdout()), Box::new(io::stderr()), terminal)
    }

    pub(super) fn new(answers: Box<dyn Write>, notes: Box<dyn Write>, terminal: bool) -> Self {
        Self {
            answers,
            notes,
            terminal,
        }
    }

    /// Whether people read the answers.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints text that ends in a line's end, at once.
    pub(super) fn answer(&mut self, text: &str) -> io::Result<()> {
        self.answers.write_all(text.as_bytes())?;
        self.answers.flush()
    }

    /// Says a line to people beside the answer. If they cannot be reached, nobody can be told.
    pub(super) fn note(&mut self, line: &str) {
        let _ = writeln!(self.notes, "{line}");
    }

    /// Says a line to people: above the answer where they read it, beside it where a program does.
    pub(super) fn remark(&mut self, line: &str) -> io::Result<()> {
        if self.terminal {
            return self.answer(&format!("{line}\n"));
        }
        self.note(line);
        Ok(())
    }

    /// Prints what clap has to say: help and version as an answer, errors as a note.
    pub(super) fn parser(&mut self, error: &clap::Error, clean: impl Fn(&str) -> String) {
        if error.use_stderr() {
            let text = error.render().to_string();
            self.note(clean(text.trim_end()).as_str());
        } else {
            // A reader that has gone away needs no help any more.
            let _ = error.print();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Keeps what is written.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_remark_stays_out_of_a_programs_input() {
        for (terminal, answers, notes) in [(true, "once\nx\n", ""), (false, "x\n", "once\n")] {
            let (out, err) = (Paper::default(), Paper::default());
            let boxed = |paper: &Paper| Box::new(paper.clone());
            let mut output = Output::new(boxed(&out), boxed(&err), terminal);
            output.remark("once").unwrap();
            output.answer("x\n").unwrap();
            assert_eq!((out.text().as_str(), err.text().as_str()), (answers, notes));
        }
    }
}
