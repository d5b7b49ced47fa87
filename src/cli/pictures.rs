//! Pictures in a terminal, by the three protocols that terminals have for them.
//!
//! kitty: <https://sw.kovidgoyal.net/kitty/graphics-protocol/>, iTerm2: <https://iterm2.com/documentation-images.html>,
//! sixel: DEC's STD 070, chapter 14.

use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use color_quant::NeuQuant;

use super::terminal;
use super::thumbnails::png;
use crate::error::Result;
use crate::image::{Image, Mode, convert};

/// The most characters that a picture is wide, and lines that it is high.
pub const COLUMNS: usize = 16;
/// The lines that a picture takes in a table.
pub const ROWS: usize = 6;

/// How a terminal is sent a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// of kitty, also in Ghostty and Konsole
    Kitty,
    /// of iTerm2, also in `WezTerm` and mintty
    Iterm2,
    /// of DEC's VT340: xterm, foot, mlterm, Windows Terminal, tmux
    Sixel,
}

/// The protocol of the terminal that standard output is: by the environment, or else by its answer.
pub fn detect() -> Result<Protocol, String> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(
            "\\pset images: standard output is no terminal; --format html shows images anywhere".to_owned()
        );
    }
    by_environment(|name| env::var(name).ok().filter(|value| !value.is_empty()))
        .or_else(|| says_sixel(&attributes()?).then_some(Protocol::Sixel))
        .ok_or_else(|| {
            "\\pset images: this terminal shows no pictures: kitty, Ghostty, WezTerm, iTerm2 and those with sixel do; \
             \\pset format html with \\o FILE shows them in a browser"
                .to_owned()
        })
}

fn by_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Protocol> {
    // what the variables name is the terminal around tmux or screen, which pass no pictures on
    if variable("TMUX").is_some() || variable("STY").is_some() {
        return None;
    }
    let term = variable("TERM").unwrap_or_default();
    let program = variable("TERM_PROGRAM").or_else(|| variable("LC_TERMINAL")).unwrap_or_default();
    match (term.as_str(), program.as_str()) {
        ("xterm-kitty" | "xterm-ghostty", _) | (_, "ghostty") => Some(Protocol::Kitty),
        (_, "iTerm.app" | "iTerm2" | "WezTerm" | "mintty") => Some(Protocol::Iterm2),
        _ if variable("KITTY_WINDOW_ID").is_some() || variable("KONSOLE_VERSION").is_some() => {
            Some(Protocol::Kitty)
        }
        _ => None,
    }
}

/// Whether the answer to "primary device attributes", `ESC [ ? 62 ; 4 ; 6 c`, has 4: sixel.
fn says_sixel(answer: &str) -> bool {
    let attributes = answer.rsplit_once("\x1b[?").map_or("", |(_, attributes)| attributes);
    attributes.trim_end_matches('c').split(';').skip(1).any(|attribute| attribute == "4")
}

/// What the terminal answers to the question for its attributes; `None` where it answers nothing.
#[cfg(unix)]
fn attributes() -> Option<String> {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    const PATIENCE: u16 = 500;
    let mut stdin = io::stdin();
    // else the answer would wait for Enter, and be echoed
    crossterm::terminal::enable_raw_mode().ok()?;
    let mut answer = Vec::new();
    let mut ask = || -> io::Result<()> {
        io::stdout().write_all(b"\x1b[c")?;
        io::stdout().flush()?;
        while answer.last() != Some(&b'c') && answer.len() < 256 {
            let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, PollTimeout::from(PATIENCE))? == 0 {
                break;
            }
            let mut bytes = [0; 64];
            match stdin.read(&mut bytes)? {
                0 => break,
                length => answer.extend_from_slice(&bytes[..length]),
            }
        }
        Ok(())
    };
    let asked = ask();
    let _ = crossterm::terminal::disable_raw_mode();
    asked.ok()?;
    String::from_utf8(answer).ok()
}

#[cfg(not(unix))]
fn attributes() -> Option<String> {
    None
}

/// A picture as a terminal is sent it, and the characters that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// drawn from where the cursor is; leaves the cursor anywhere
    pub escape: String,
    /// characters that it is wide
    pub columns: usize,
}

/// The largest picture in pixels.
pub fn largest() -> (u32, u32) {
    let (width, height) = terminal::character();
    let of = |characters: usize, pixels: u32| u32::try_from(characters).unwrap_or(1) * pixels;
    (of(COLUMNS, width), of(ROWS, height))
}

impl Protocol {
    /// `image`, which is at most as large as [`largest`], for the terminal.
    pub fn picture(self, image: &Image<'_>) -> Result<Picture> {
        let (width, height) = terminal::character();
        let columns = image.width().div_ceil(width.max(1)) as usize;
        let rows = image.height().div_ceil(height.max(1)) as usize;
        let escape = match self {
            Self::Kitty => kitty(&STANDARD.encode(png(image.borrowed())?), columns, rows),
            Self::Iterm2 => {
                let png = png(image.borrowed())?;
                format!(
                    "\x1b]1337;File=inline=1;size={};width={columns};height={rows};preserveAspectRatio=1:{}\x07",
                    png.len(),
                    STANDARD.encode(png)
                )
            }
            Self::Sixel => sixel(image),
        };
        Ok(Picture { escape, columns })
    }
}

/// In pieces of at most 4,096 bytes; the terminal is to answer nothing (`q=2`) and leave the cursor (`C=1`).
fn kitty(png: &str, columns: usize, rows: usize) -> String {
    const PIECE: usize = 4096;
    let mut escape = String::with_capacity(png.len() + 64);
    let mut from = 0;
    while from < png.len() {
        let to = png.len().min(from + PIECE);
        let keys = if from == 0 { format!("a=T,f=100,q=2,C=1,c={columns},r={rows},") } else { String::new() };
        // writing to a string cannot fail
        let _ = write!(escape, "\x1b_G{keys}m={};{}\x1b\\", u8::from(to < png.len()), &png[from..to]);
        from = to;
    }
    escape
}

/// Bands of six lines; in each, for each colour, the pixels that have it. Transparent pixels stay as they are.
fn sixel(image: &Image<'_>) -> String {
    const COLORS: usize = 256;
    let image = convert(image.borrowed(), Mode::Rgba);
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixels = image.pixels().as_chunks::<4>().0;
    let palette = NeuQuant::new(10, COLORS, image.pixels());
    let colors: Vec<Option<usize>> =
        pixels.iter().map(|pixel| (pixel[3] >= 128).then(|| palette.index_of(pixel))).collect();
    let mut escape = format!("\x1bP0;1;0q\"1;1;{width};{height}");
    for (number, color) in palette.color_map_rgb().as_chunks::<3>().0.iter().enumerate() {
        let [red, green, blue] = color.map(|value| u32::from(value) * 100 / 255);
        let _ = write!(escape, "#{number};2;{red};{green};{blue}");
    }
    for band in colors.chunks(6 * width) {
        let mut used: Vec<usize> = band.iter().flatten().copied().collect();
        used.sort_unstable();
        used.dedup();
        for color in used {
            let _ = write!(escape, "#{color}");
            let column = |x: usize| {
                let lines = band.iter().skip(x).step_by(width);
                let bits = lines.enumerate().filter(|(_, pixel)| **pixel == Some(color));
                bits.fold(0_u8, |bits, (line, _)| bits | 1 << line)
            };
            push_runs(&mut escape, (0..width).map(column));
            escape.push('$');
        }
        escape.push('-');
    }
    escape.push_str("\x1b\\");
    escape
}

/// `!12?` is twelve times `?`.
fn push_runs(escape: &mut String, columns: impl Iterator<Item = u8>) {
    let mut columns = columns.peekable();
    while let Some(bits) = columns.next() {
        let mut length = 1;
        while columns.next_if_eq(&bits).is_some() {
            length += 1;
        }
        let character = char::from(b'?' + bits);
        if length > 3 {
            let _ = write!(escape, "!{length}{character}");
        } else {
            escape.extend(std::iter::repeat_n(character, length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_told_by_their_environment() {
        let of = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            by_environment(|name| find(name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[("TERM", "xterm-kitty")]), Some(Protocol::Kitty));
        assert_eq!(of(&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")]), Some(Protocol::Iterm2));
        assert_eq!(of(&[("TERM", "xterm-256color")]), None);
        assert_eq!(of(&[("TERM", "screen"), ("TMUX", "/tmp/x"), ("KITTY_WINDOW_ID", "1")]), None);
    }

    #[test]
    fn sixel_is_attribute_four() {
        assert!(says_sixel("\x1b[?62;4;6c") && says_sixel("\x1b[?64;1;2;4c"));
        assert!(!says_sixel("\x1b[?4c") && !says_sixel("\x1b[?62;22c") && !says_sixel(""));
    }

    #[test]
    fn a_picture_of_sixels_has_bands_of_six_lines() {
        let pixels: Vec<u8> =
            (0..8 * 4).flat_map(|at| if at < 4 * 6 { [255, 0, 0] } else { [0, 0, 255] }).collect();
        let image = Image::new(4, 8, Mode::Rgb, pixels).unwrap();
        let escape = sixel(&image);
        assert!(escape.starts_with("\x1bP0;1;0q\"1;1;4;8#0;2;") && escape.ends_with("-\x1b\\"), "{escape}");
        let bands: Vec<&str> = escape.split('-').collect();
        assert_eq!(bands.len(), 3);
        // four columns of six pixels, then of two
        assert!(bands[0].ends_with("!4~$") && bands[1].ends_with("!4B$"), "{escape}");
    }

    #[test]
    fn pieces_for_kitty_are_short_and_the_last_is_marked() {
        let escape = kitty(&"A".repeat(5000), 16, 6);
        let pieces: Vec<&str> = escape.split_terminator("\x1b\\").collect();
        assert_eq!(pieces.len(), 2);
        assert!(pieces[0].starts_with("\x1b_Ga=T,f=100,q=2,C=1,c=16,r=6,m=1;AAAA"));
        assert!(pieces[1].starts_with("\x1b_Gm=0;AAAA"));
    }
}
