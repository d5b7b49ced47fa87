//! The files that an ONNX graph keeps weights in, besides its own.
//!
//! A tensor with external data names a file relative to the graph's
//! (<https://github.com/onnx/onnx/blob/main/docs/ExternalData.md>). Whoever made the graph chose that name, so it is held
//! against the folder before ONNX Runtime follows it. The graph is walked message by message, as its protobuf is laid out
//! (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>): no weights are read, and nothing is kept but names.
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path};

use crate::error::{Error, Result, query_err};

/// Graphs in graphs in graphs are no deeper.
const MAX_DEPTH: usize = 128;
/// The beginning of locations that ONNX Runtime takes for addresses in its own memory
/// (`*/_ORT_MEM_ADDR_/*`, onnxruntime/core/framework/tensorprotoutils.h).
const OF_RUNTIME: &str = "*/_ORT_";
/// Keys and values of the description of external data.
const MAX_TEXT: u64 = 4096;

/// The files beside a graph that its tensors are in, by the names that it gives them; an error if it is no graph, or if
/// one of them would be outside of its folder.
pub(crate) fn external_files(graph: &Path) -> Result<BTreeSet<String>> {
    let names = read(graph).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Error::Query(format!(
            "cannot load the model {}: it is no ONNX graph, or not a whole one ({error})",
            graph.display()
        )),
        _ => Error::Query(format!("cannot read {}: {error}", graph.display())),
    })?;
    if names.iter().any(|name| name.starts_with(OF_RUNTIME)) {
        return query_err!(
            "cannot load the model {}: it keeps weights at an address in memory, not in a file",
            graph.display()
        );
    }
    let leaves = |name: &&String| {
        let mut parts = Path::new(name).components();
        name.contains('\\') || !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    match names.iter().find(leaves) {
        Some(outside) => query_err!(
            "cannot load the model {}: it keeps weights in '{outside}', outside of its own folder",
            graph.display()
        ),
        None => Ok(names),
    }
}

/// The messages of ONNX that tensors can be in.
#[derive(Debug, Clone, Copy)]
enum Message {
    Model,
    Training,
    Graph,
    Function,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    Entry,
}

impl Message {
    /// The message in one of its fields, if tensors can be in it.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Function, 11) | (Self::Node, 5) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Tensor, 13) => Self::Entry,
            _ => return None,
        })
    }
}

fn read(path: &Path) -> io::Result<BTreeSet<String>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut wire = Wire { bytes: BufReader::new(file), at: 0 };
    let mut names = BTreeSet::new();
    // the messages that are being read, with their ends
    let mut open = vec![(Message::Model, size)];
    let mut entry = (String::new(), String::new());
    while let Some((message, end)) = open.last().copied() {
        if wire.at >= end {
            if wire.at > end {
                return Err(malformed("a field is longer than what it is in"));
            }
            if matches!(message, Message::Entry) {
                let (key, value) = std::mem::take(&mut entry);
                if key == "location" {
                    names.insert(value);
                }
            }
            open.pop();
            continue;
        }
        let tag = wire.tag()?;
        let (number, kind) = (tag >> 3, tag & 7);
        let length = match kind {
            0 => {
                wire.varint()?;
                continue;
            }
            1 => 8,
            5 => 4,
            2 => wire.varint()?,
            _ => return Err(malformed("a field of an unknown kind")),
        };
        let field_end = wire.at.checked_add(length).filter(|field_end| *field_end <= end);
        let Some(field_end) = field_end else {
            return Err(malformed("a field is longer than what it is in"));
        };
        match (kind, message.field(number), message) {
            (2, Some(_), _) if open.len() >= MAX_DEPTH => return Err(malformed("it is nested too deeply")),
            (2, Some(inner), _) => open.push((inner, field_end)),
            (2, None, Message::Entry) if number == 1 => entry.0 = wire.text(length)?,
            (2, None, Message::Entry) if number == 2 => entry.1 = wire.text(length)?,
            _ => wire.skip(length)?,
        }
    }
    Ok(names)
}

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Protobuf's encoding, read from a file (<https://protobuf.dev/programming-guides/encoding/>).
struct Wire {
    bytes: BufReader<File>,
    at: u64,
}

impl Wire {
    /// The number of a field and its kind. Libraries read no more than 32 bits and differ in what they do with others, so
    /// that one tag could mean two fields.
    fn tag(&mut self) -> io::Result<u64> {
        let start = self.at;
        let tag = self.varint()?;
        match tag > u64::from(u32::MAX) || self.at - start > 5 {
            true => Err(malformed("the number of a field is too long")),
            false => Ok(tag),
        }
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.bytes.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("a number is too long"))
    }

    fn text(&mut self, length: u64) -> io::Result<String> {
        if length > MAX_TEXT {
            return Err(malformed("the name of a file is too long"));
        }
        let mut text = vec![];
        self.bytes.by_ref().take(length).read_to_end(&mut text)?;
        self.at += length;
        String::from_utf8(text).map_err(|_| malformed("the name of a file is no text"))
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let offset = i64::try_from(length).map_err(|_| malformed("a field is too long"))?;
        self.bytes.seek_relative(offset)?;
        self.at += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that holds a message or a text.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 0x80, "one byte of length");
        [&[number << 3 | 2, length], content].concat()
    }

    fn tensor(location: &str) -> Vec<u8> {
        let entry = |key: &str, value: &str| {
            field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
        };
        [field(9, b"raw data"), entry("location", location), entry("offset", "0")].concat()
    }

    fn files(model: &[u8]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, model).unwrap();
        external_files(&path).map(|names| names.into_iter().collect())
    }

    #[test]
    fn files_are_found_wherever_a_tensor_can_be() {
        let initializer = field(7, &field(5, &tensor("a.data")));
        let constant = field(7, &field(1, &field(5, &field(5, &tensor("b.data")))));
        let in_branch = field(7, &field(1, &field(5, &field(6, &field(5, &tensor("sub/c.data"))))));
        let version = [8, 8];
        assert_eq!(
            files(&[&version[..], &initializer, &constant, &in_branch].concat()).unwrap(),
            ["a.data", "b.data", "sub/c.data"]
        );
        assert_eq!(files(&field(7, &field(5, &field(9, b"raw")))).unwrap(), [""; 0]);
        assert_eq!(files(&[]).unwrap(), [""; 0]);
    }

    #[test]
    fn a_file_outside_of_the_folder_is_refused() {
        for location in ["../x", "/etc/passwd", "a/../../x", "..\\x"] {
            let error = files(&field(7, &field(5, &tensor(location)))).unwrap_err().to_string();
            assert!(error.contains(&format!("keeps weights in '{location}', outside")), "{error}");
        }
    }

    /// As [`field`], with a tag whose bit 32 is set: libraries that read 32 bits of it see the same field.
    fn long_tag(number: u8, content: &[u8]) -> Vec<u8> {
        let tag = [number << 3 | 2 | 0x80, 0x80, 0x80, 0x80, 0x10];
        [&tag[..], &[u8::try_from(content.len()).unwrap()], content].concat()
    }

    #[test]
    fn a_tag_of_more_bits_hides_no_file() {
        let in_graph = field(7, &long_tag(5, &tensor("../x")));
        let mut padded = field(7, &field(5, &tensor("../x")));
        drop(padded.splice(0..1, [0x3a | 0x80, 0x80, 0x80, 0x80, 0x80, 0]));
        for graph in [long_tag(7, &field(5, &tensor("../x"))), in_graph, padded] {
            let error = files(&graph).unwrap_err().to_string();
            assert!(error.contains("the number of a field is too long"), "{error}");
        }
    }

    #[test]
    fn an_address_in_memory_is_no_file() {
        for location in ["*/_ORT_MEM_ADDR_/*", "*/_ORT_MEM_ADDR_/x"] {
            let error = files(&field(7, &field(5, &tensor(location)))).unwrap_err().to_string();
            assert!(error.contains("at an address in memory, not in a file"), "{error}");
        }
    }

    #[test]
    fn what_is_no_graph_is_an_error() {
        let whole = field(7, &field(5, &tensor("a.data")));
        for broken in [&b"not a graph"[..], &whole[..whole.len() - 1], &[0xff; 20], &[0x3a, 0x7f]] {
            let error = files(broken).unwrap_err().to_string();
            assert!(error.contains("it is no ONNX graph, or not a whole one"), "{error}");
        }
        let mut nested = vec![];
        for _ in 0..20 {
            nested = field(7, &nested);
        }
        files(&nested).unwrap();
    }
}
