//! The terminal that results are shown on.

use std::io::{self, IsTerminal};

/// How much text fits on a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// characters of a line
    pub columns: usize,
    /// lines
    pub rows: usize,
}

/// The size of the terminal that standard output is, if it is one.
pub fn size() -> Option<Size> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let (columns, rows) = crossterm::terminal::size().ok()?;
    Some(Size { columns: columns.into(), rows: rows.into() })
}

/// The size of a character in pixels, as the terminal says, or else as it usually is.
pub fn character() -> (u32, u32) {
    const USUAL: (u32, u32) = (8, 16);
    let Ok(window) = crossterm::terminal::window_size() else { return USUAL };
    let (columns, rows) = (u32::from(window.columns), u32::from(window.rows));
    if window.width == 0 || window.height == 0 || columns == 0 || rows == 0 {
        return USUAL;
    }
    (u32::from(window.width) / columns, u32::from(window.height) / rows)
}
