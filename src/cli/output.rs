//! The only place that prints: answers to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use crate::config::Environment;

use super::colour::{ColourChoice, Palette};

/// Erases the rest of a line (ECMA-48, 8.3.41).
const ERASE: &str = "\x1b[K";

/// Where a command's words go.
pub(super) struct Output {
    answers: Box<dyn Write>,
    notes: Box<dyn Write>,
    terminal: bool,
    notes_terminal: bool,
    palette: Palette,
    notes_palette: Palette,
    /// A line of progress stands where the next note will.
    progress: bool,
}

impl Output {
    /// The process's own standard output and error.
    pub(super) fn standard() -> Self {
        let terminal = io::stdout().is_terminal();
        let notes_terminal = io::stderr().is_terminal();
        let output = Self::new(Box::new(io::stdout()), Box::new(io::stderr()), terminal);
        Self {
            notes_terminal,
            ..output
        }
    }

    pub(super) fn new(answers: Box<dyn Write>, notes: Box<dyn Write>, terminal: bool) -> Self {
        Self {
            answers,
            notes,
            terminal,
            notes_terminal: false,
            palette: Palette::PLAIN,
            notes_palette: Palette::PLAIN,
            progress: false,
        }
    }

    /// Decides about colours, for answers and for notes.
    pub(super) fn colour(&mut self, choice: ColourChoice, environment: &Environment) {
        self.palette = Palette::of(choice, environment, self.terminal);
        self.notes_palette = Palette::of(choice, environment, self.notes_terminal);
    }

    /// What answers for people are coloured with; never JSON.
    pub(super) fn palette(&self) -> Palette {
        self.palette
    }

    /// Whether people are there who would see how long work goes on.
    pub(super) fn shows_progress(&self) -> bool {
        self.notes_terminal
    }

    /// Says how work goes on, in a line of its own that the next words replace.
    pub(super) fn progress(&mut self, line: &str) {
        if self.notes_terminal {
            let _ = write!(self.notes, "\r{ERASE}{line}");
            let _ = self.notes.flush();
            self.progress = true;
        }
    }

    /// Takes the line of progress away.
    pub(super) fn end_progress(&mut self) {
        if std::mem::take(&mut self.progress) {
            let _ = write!(self.notes, "\r{ERASE}");
            let _ = self.notes.flush();
        }
    }

    /// Prints text that ends in a line's end, at once.
    pub(super) fn answer(&mut self, text: &str) -> io::Result<()> {
        self.end_progress();
        self.answers.write_all(text.as_bytes())?;
        self.answers.flush()
    }

    /// Says a line to people beside the answer. If they cannot be reached, nobody can be told.
    pub(super) fn note(&mut self, line: &str) {
        self.end_progress();
        let line = self.notes_palette.note(line);
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
            let styled = error.render();
            let text = match self.palette.is_on() {
                true => styled.ansi().to_string(),
                false => styled.to_string(),
            };
            // A reader that has gone away needs no help any more.
            let _ = self.answer(&text);
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

    #[test]
    fn progress_is_for_terminals_and_goes_away_before_the_next_words() {
        for (notes_terminal, shown) in [(true, "\r\x1b[Kon\r\x1b[K"), (false, "")] {
            let (out, err) = (Paper::default(), Paper::default());
            let boxed = |paper: &Paper| Box::new(paper.clone());
            let mut output = Output::new(boxed(&out), boxed(&err), false);
            output.notes_terminal = notes_terminal;
            output.progress("on");
            output.answer("x\n").unwrap();
            assert_eq!((out.text().as_str(), err.text().as_str()), ("x\n", shown));
            output.note("done");
            assert_eq!(err.text(), format!("{shown}done\n"));
        }
    }
}
