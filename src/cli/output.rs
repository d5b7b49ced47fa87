//! Where results go: standard output, a pager in front of it, or a file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::Path;
use std::sync::Arc;

use super::pager::Pager;
use super::progress::Line;
use super::terminal;

/// A buffer that remembers why writing failed.
///
/// Arrow's writers turn an I/O error into text; whether the reader went away must be known nevertheless.
pub struct Output {
    writer: BufWriter<Sink>,
    failure: Option<io::ErrorKind>,
    /// shown in the same terminal as results, and erased before them
    progress: Arc<Line>,
    /// whether the head of an HTML page was written
    pub has_head: bool,
}

enum Sink {
    Stdout(Stdout, Option<Arc<Line>>),
    Pager(Pager, Arc<Line>),
    File(File),
}

impl Output {
    /// Standard output.
    pub fn stdout(progress: Arc<Line>) -> Self {
        let shown = io::stdout().is_terminal().then(|| Arc::clone(&progress));
        Self::of(Sink::Stdout(io::stdout(), shown), progress)
    }

    /// A file, which is made, or emptied.
    pub fn file(path: &Path, progress: Arc<Line>) -> io::Result<Self> {
        Ok(Self::of(Sink::File(File::create(path)?), progress))
    }

    fn of(sink: Sink, progress: Arc<Line>) -> Self {
        Self { writer: BufWriter::new(sink), failure: None, progress, has_head: false }
    }

    /// Whether it is standard output, and that a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self.writer.get_ref(), Sink::Stdout(_, Some(_)) | Sink::Pager(..))
    }

    /// Whether the reader went away, as in `semsql ... | head`: no reason to complain, but to stop.
    pub fn is_closed(&self) -> bool {
        self.failure == Some(io::ErrorKind::BrokenPipe)
    }

    /// What is written until [`end_page`](Self::end_page) goes to a pager if it does not fit the terminal. Does nothing
    /// where there is no terminal.
    pub fn begin_page(&mut self) -> io::Result<()> {
        let Some(size) = terminal::size().filter(|_| self.is_terminal()) else { return Ok(()) };
        self.flush()?;
        let pager = Pager::new(size);
        self.writer = BufWriter::new(Sink::Pager(pager, Arc::clone(&self.progress)));
        Ok(())
    }

    /// Waits until the person at the pager has read enough; true if that was before the end of the text.
    pub fn end_page(&mut self) -> io::Result<bool> {
        if !matches!(self.writer.get_ref(), Sink::Pager(..)) {
            return Ok(false);
        }
        let flushed = self.flush();
        let left_early = self.is_closed();
        if left_early {
            self.failure = None;
        }
        let stdout = Sink::Stdout(io::stdout(), Some(Arc::clone(&self.progress)));
        // what a closed pager has not taken is not wanted
        let (sink, _) = std::mem::replace(&mut self.writer, BufWriter::new(stdout)).into_parts();
        if let Sink::Pager(pager, _) = sink {
            pager.finish()?;
        }
        if left_early { Ok(true) } else { flushed.map(|()| false) }
    }

    fn remember<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(e) = &result {
            self.failure = Some(e.kind());
        }
        result
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.writer.write(bytes);
        self.remember(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.writer.flush();
        self.remember(result)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout, progress) => {
                if let Some(progress) = progress {
                    progress.end();
                }
                stdout.write(bytes)
            }
            Self::Pager(pager, progress) => {
                progress.end();
                pager.write(bytes)
            }
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout, _) => stdout.flush(),
            Self::Pager(pager, _) => pager.flush(),
            Self::File(file) => file.flush(),
        }
    }
}
