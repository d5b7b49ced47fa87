//! LZW as TIFF has it (TIFF 6.0, section 13): codes of 9 to 12 bits, the highest bit first.
//!
//! The `weezl` crate, which `tiff` uses, takes twice as long for photos, whose strings are of two or three bytes: here the
//! first bytes of a string stand in its entry, and are written without a look at what was decoded before.

const CLEAR: usize = 256;
const END: usize = 257;
const FIRST: usize = 258;
/// Codes have at most 12 bits.
const ENTRIES: usize = 1 << 12;
/// So many bytes of a string stand in its entry.
const HELD: usize = size_of::<u64>();

/// A string that a code stands for; an empty one before the first code.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// The first bytes, the first of them lowest.
    head: u64,
    /// Where the string was decoded before; not for single bytes.
    start: usize,
    length: usize,
}

/// A decoder, to be used for one strip after the other.
pub(super) struct Lzw {
    entries: Box<[Entry]>,
}

impl Lzw {
    pub(super) fn new() -> Self {
        let byte = |head| Entry { head, start: 0, length: 1 };
        let mut entries: Vec<_> = (0..256).map(byte).collect();
        entries.resize(ENTRIES, Entry::default());
        Self { entries: entries.into_boxed_slice() }
    }

    /// Fills `output`; what comes behind is not looked at. `None` where `input` ends before or is no LZW.
    pub(super) fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Option<()> {
        let entries: &mut [Entry; ENTRIES] = self.entries.as_mut().try_into().ok()?;
        let mut codes = Bits::new(input);
        let mut width = 9;
        let mut next = FIRST;
        let mut previous = Entry::default();
        let mut at = 0;
        while at < output.len() {
            let code = codes.take(width)?;
            if code == CLEAR {
                (width, next, previous) = (9, FIRST, Entry::default());
                continue;
            }
            // the entry that this code completes may be the one it stands for
            if code == END || code > next || (code == next && previous.length == 0) {
                return None;
            }
            if previous.length > 0 && next < ENTRIES {
                let first = if code == next { previous.head } else { entries[code % ENTRIES].head } & 0xFF;
                let is_short = previous.length < HELD;
                let head =
                    if is_short { previous.head | first << (8 * previous.length) } else { previous.head };
                entries[next] = Entry { head, start: previous.start, length: previous.length + 1 };
                next += 1;
                // one code early
                if next + 1 >= 1 << width && width < 12 {
                    width += 1;
                }
            }
            let entry = entries[code % ENTRIES];
            previous = Entry { start: at, ..entry };
            at = write(entry, output, at);
        }
        Some(())
    }
}

/// Writes a string at `at`, as much of it as there is room for, and says where it ends.
#[inline]
fn write(entry: Entry, output: &mut [u8], at: usize) -> usize {
    let head = entry.head.to_le_bytes();
    let end = at + entry.length;
    if entry.length <= HELD {
        // all that is held: what is too much is overwritten by the next
        if let Some(room) = output[at..].first_chunk_mut::<HELD>() {
            *room = head;
            return end;
        }
    }
    let end = end.min(output.len());
    let length = end - at;
    if entry.length <= HELD {
        output[at..end].copy_from_slice(&head[..length]);
    } else if entry.start + length <= at {
        output.copy_within(entry.start..entry.start + length, at);
    } else {
        // the last byte of the string is its own first
        for index in 0..length {
            output[at + index] = output[entry.start + index];
        }
    }
    end
}

/// The bits of bytes, the highest first.
struct Bits<'a> {
    /// What was not taken in yet.
    rest: &'a [u8],
    /// The bits taken in, from the highest on.
    word: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, word: 0, count: 0 }
    }

    /// The next `width` bits, at most 12; `None` where there are fewer.
    #[inline]
    fn take(&mut self, width: u32) -> Option<usize> {
        if self.count < width {
            if let Some(word) = self.rest.first_chunk() {
                self.word |= u64::from_be_bytes(*word) >> self.count;
                let bytes = (63 - self.count) / 8;
                self.rest = &self.rest[bytes as usize..];
                self.count += 8 * bytes;
            } else {
                while let (true, Some((byte, rest))) = (self.count <= 56, self.rest.split_first()) {
                    self.word |= u64::from(*byte) << (56 - self.count);
                    self.rest = rest;
                    self.count += 8;
                }
                if self.count < width {
                    return None;
                }
            }
        }
        let taken = self.word >> (64 - width);
        self.word <<= width;
        self.count -= width;
        usize::try_from(taken).ok()
    }
}
