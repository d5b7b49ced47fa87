//! Shows text that is wider or longer than the terminal through the user's pager.

use std::env;
use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use unicode_width::UnicodeWidthStr;

use super::terminal::Size;

/// Text that has no line break for so long is wide, whatever is in it.
const LONGEST_LINE: usize = 1 << 16;

/// A process has one terminal, and so one pager.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// Whether the terminal belongs to a pager.
pub fn is_running() -> bool {
    IS_RUNNING.load(Ordering::Relaxed)
}

/// Holds text as long as it fits the terminal; from then on, everything goes to the pager as it comes.
#[derive(Debug)]
pub struct Pager {
    size: Size,
    held: Vec<u8>,
    lines: usize,
    /// where the line that is not ended yet starts in `held`
    line: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// it may still fit
    Holding,
    Running(Child, Option<ChildStdin>),
    /// there is no pager: the text goes to standard output
    Missing,
}

impl Pager {
    /// For a terminal of this size.
    pub fn new(size: Size) -> Self {
        Self { size, held: Vec::new(), lines: 0, line: 0, state: State::Holding }
    }

    /// Prints what was held, or waits until the person at the pager has read enough.
    pub fn finish(mut self) -> io::Result<()> {
        match &mut self.state {
            State::Holding | State::Missing => {
                io::stdout().write_all(&self.held)?;
                io::stdout().flush()
            }
            State::Running(child, input) => {
                drop(input.take());
                let ended = child.wait();
                IS_RUNNING.store(false, Ordering::Relaxed);
                match ended?.code() {
                    // what sh says of a program that is not there
                    Some(127) => {
                        let pager = env::var("PAGER").unwrap_or_default();
                        Err(io::Error::other(format!(
                            "the pager '{pager}' (of $PAGER) cannot be run; \\pset pager off does without"
                        )))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Takes note of the lines that end in `bytes`.
    fn measure(&mut self, bytes: &[u8]) -> bool {
        self.held.extend_from_slice(bytes);
        let mut fits = true;
        while let Some(length) = self.held[self.line..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.held[self.line..self.line + length]);
            fits &= line.width() <= self.size.columns;
            self.line += length + 1;
            self.lines += 1;
        }
        // the prompt needs a line too
        fits && self.lines < self.size.rows && self.held.len() - self.line < LONGEST_LINE
    }

    fn start(&mut self) -> io::Result<()> {
        self.state = match command().stdin(Stdio::piped()).spawn() {
            Ok(mut child) => {
                let input = child.stdin.take();
                IS_RUNNING.store(true, Ordering::Relaxed);
                State::Running(child, input)
            }
            Err(_) => State::Missing,
        };
        let held = std::mem::take(&mut self.held);
        self.write_all(&held)
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Running(_, Some(input)) => input.write(bytes),
            State::Running(_, None) => Err(io::ErrorKind::BrokenPipe.into()),
            State::Missing => io::stdout().write(bytes),
            State::Holding => {
                if !self.measure(bytes) {
                    self.start()?;
                }
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Running(_, Some(input)) => input.flush(),
            State::Missing => io::stdout().flush(),
            State::Running(_, None) | State::Holding => Ok(()),
        }
    }
}

/// `$PAGER`, which may have arguments, or else `less`, which is told to cut long lines and to leave text on the screen.
fn command() -> Command {
    let named = env::var("PAGER").ok().filter(|pager| !pager.trim().is_empty());
    let mut command = match named {
        Some(named) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(named);
            shell
        }
        None => Command::new("less"),
    };
    if env::var_os("LESS").is_none() {
        command.env("LESS", "-SRFX");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_held_as_long_as_it_fits() {
        let fits = |text: &str| Pager::new(Size { columns: 5, rows: 3 }).measure(text.as_bytes());
        assert!(fits("12345\n日本\n") && fits("1\n2\n123456"));
        assert!(!fits("123456\n") && !fits("日本語\n") && !fits("1\n2\n3\n"));
        let mut pager = Pager::new(Size { columns: 5, rows: 3 });
        assert!(pager.measure(b"123") && !pager.measure(b"456\n"), "a line may come in pieces");
    }
}
