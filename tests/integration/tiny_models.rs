//! Model folders whose vectors are computed by hand: a token's vector is a row of a table, an image's the mean of its
//! channels.
use std::fs;
use std::path::Path;

/// Words and their vectors. `q` and `p` are prompts.
pub const WORDS: [(&str, [f32; 2]); 9] = [
    ("[UNK]", [0.0, 0.0]),
    ("[PAD]", [100.0, 100.0]),
    ("a", [1.0, 2.0]),
    ("b", [5.0, 8.0]),
    ("c", [3.0, -1.0]),
    ("d", [7.0, 3.0]),
    ("q", [2.0, 0.0]),
    ("p", [0.0, 2.0]),
    ("A", [-1.0, -1.0]),
];

/// A field of a protobuf message: a message or a text.
fn field(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn integer(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn node(kind: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input)).collect();
    let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| field(5, attribute)).collect();
    field(1, [inputs, field(2, output), field(4, kind), attributes].concat())
}

fn numbers(name: &str, numbers: &[u64]) -> Vec<u8> {
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| integer(8, *number)).collect();
    [field(1, name), numbers, integer(20, 7)].concat()
}

/// An input or output with sizes that vary; kind 1 is of 32-bit floats, 7 of 64-bit integers.
fn value(name: &str, kind: u64, sizes: &[&str]) -> Vec<u8> {
    let shape: Vec<u8> = sizes.iter().flat_map(|size| field(1, field(2, size))).collect();
    let tensor = [integer(1, kind), field(2, shape)].concat();
    [field(1, name), field(2, field(1, tensor))].concat()
}

fn table(rows: &[Vec<f32>], external: Option<&str>) -> Vec<u8> {
    let bytes: Vec<u8> = rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    let sizes = [integer(1, rows.len() as u64), integer(1, rows[0].len() as u64)].concat();
    let content = match external {
        None => field(9, bytes),
        Some(file) => [field(13, [field(1, "location"), field(2, file)].concat()), integer(14, 1)].concat(),
    };
    field(5, [sizes, integer(2, 1), field(8, "table"), content].concat())
}

fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    let opset = field(8, integer(2, 13));
    [integer(1, 8), field(7, [&field(2, "tiny")[..], &graph.concat()].concat()), opset].concat()
}

fn rows(dimensions: usize) -> Vec<Vec<f32>> {
    WORDS.iter().map(|(_, row)| (0..dimensions).map(|at| row[at % 2]).collect()).collect()
}

/// `input_ids` to `last_hidden_state`; the table is in another file where one is named.
pub fn text_graph(external: Option<&str>) -> Vec<u8> {
    model(&[
        node("Gather", &["table", "input_ids"], "last_hidden_state", &[]),
        table(&rows(2), external),
        field(11, value("input_ids", 7, &["batch", "tokens"])),
        field(12, value("last_hidden_state", 1, &["batch", "tokens", "size"])),
    ])
}

/// The table as the file of [`text_graph`].
pub fn table_bytes() -> Vec<u8> {
    rows(2).iter().flatten().flat_map(|number| number.to_le_bytes()).collect()
}

const TEXT_TOWER: [&str; 3] = ["batch", "tokens", "size"];

fn text_tower() -> Vec<Vec<u8>> {
    let mean = [numbers("axes", &[1]), [field(1, "keepdims"), integer(3, 0), integer(20, 2)].concat()];
    vec![
        node("Gather", &["table", "input_ids"], "tokens", &[]),
        node("ReduceMean", &["tokens"], "text_embeds", &mean),
        table(&rows(3), None),
        field(11, value("input_ids", 7, &TEXT_TOWER[..2])),
    ]
}

fn image_tower() -> Vec<Vec<u8>> {
    vec![
        node("GlobalAveragePool", &["pixel_values"], "means", &[]),
        node("Flatten", &["means"], "image_embeds", &[]),
        field(11, value("pixel_values", 1, &["images", "channels", "height", "width"])),
    ]
}

fn output(name: &str) -> Vec<u8> {
    field(12, value(name, 1, &["rows", "size"]))
}

/// `input_ids` to `text_embeds`, of three numbers: the mean of the tokens (x, y, x).
pub fn text_tower_graph() -> Vec<u8> {
    model(&[text_tower(), vec![output("text_embeds")]].concat())
}

/// `pixel_values` to `image_embeds`: the mean of each channel.
pub fn image_tower_graph() -> Vec<u8> {
    model(&[image_tower(), vec![output("image_embeds")]].concat())
}

/// Both, and first of all the logits that nobody asks for.
pub fn both_towers_graph() -> Vec<u8> {
    let turned = node("Transpose", &["image_embeds"], "turned", &[]);
    let logits = node("MatMul", &["text_embeds", "turned"], "logits_per_text", &[]);
    let outputs = ["logits_per_text", "text_embeds", "image_embeds"].map(output);
    model(&[text_tower(), image_tower(), vec![turned, logits], outputs.to_vec()].concat())
}

/// A tokenizer of words; `special` puts `[UNK]` before and behind a text.
pub fn tokenizer(special: bool, normalizer: &str) -> String {
    let words: Vec<String> =
        WORDS.iter().enumerate().map(|(id, (word, _))| format!("\"{word}\": {id}")).collect();
    let unknown = r#"{"SpecialToken": {"id": "[UNK]", "type_id": 0}}"#;
    let template = format!(
        r#"{{"type": "TemplateProcessing", "single": [{unknown}, {{"Sequence": {{"id": "A", "type_id": 0}}}}, {unknown}],
             "pair": [{{"Sequence": {{"id": "A", "type_id": 0}}}}, {{"Sequence": {{"id": "B", "type_id": 1}}}}],
             "special_tokens": {{"[UNK]": {{"id": "[UNK]", "ids": [0], "tokens": ["[UNK]"]}}}}}}"#
    );
    let template = if special { template } else { "null".to_owned() };
    format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {normalizer},
             "pre_tokenizer": {{"type": "WhitespaceSplit"}}, "post_processor": {template}, "decoder": null,
             "model": {{"type": "WordLevel", "vocab": {{{}}}, "unk_token": "[UNK]"}}}}"#,
        words.join(", ")
    )
}

/// A folder with files of a model.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A text model of two dimensions whose tokens are words.
    pub fn text() -> Self {
        let folder = Self::empty();
        folder.write("config.json", r#"{"hidden_size": 2, "pad_token_id": 1}"#);
        folder.write("tokenizer.json", tokenizer(false, "null"));
        folder.write("onnx/model.onnx", text_graph(None));
        folder
    }

    /// The same with these modules, of which the pooling is configured so.
    pub fn pooled(pooling: &str, modules: &[(&str, &str)]) -> Self {
        let folder = Self::text();
        let modules = [&[("", "Transformer"), ("1_Pooling", "Pooling")], modules].concat();
        let modules: Vec<String> = modules
            .iter()
            .map(|(path, class)| {
                format!(r#"{{"path": "{path}", "type": "sentence_transformers.models.{class}"}}"#)
            })
            .collect();
        folder.write("modules.json", format!("[{}]", modules.join(", ")));
        folder.write("1_Pooling/config.json", pooling);
        folder
    }

    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn remove(&self, file: &str) {
        fs::remove_file(self.0.path().join(file)).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn name(&self) -> String {
        self.0.path().display().to_string()
    }
}
