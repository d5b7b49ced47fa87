//! `config.json` of a model, as the builders of graphs read it: every number is checked, every error names its key.
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Result, query_err};
use crate::models::json;

/// The most that a size can be: far more than any model has, and small enough that products of two do not overflow.
const MAX_SIZE: u64 = 1 << 31;

/// The keys of `config.json`, or of a section in it.
#[derive(Debug, Clone)]
pub(in super::super) struct Config {
    path: PathBuf,
    section: Option<&'static str>,
    values: Map<String, Value>,
}

impl Config {
    /// The `config.json` of a folder; an error that names its path where it cannot be read.
    pub(in super::super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        match json::read(&path, json::MAX_SETTINGS)? {
            Some(values) => Ok(Self { path, section: None, values }),
            None => query_err!("cannot use {}: it is not there", path.display()),
        }
    }

    /// The folder of the model.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// A section. One that is not there has no keys: the defaults of the family hold.
    pub(super) fn section(&self, name: &'static str) -> Result<Self> {
        let values = match self.values.get(name) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(values)) => values.clone(),
            Some(other) => return self.wrong(name, other, "an object"),
        };
        Ok(Self { path: self.path.clone(), section: Some(name), values })
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn place(&self, key: &str) -> String {
        match self.section {
            Some(section) => format!("{section}.{key}"),
            None => key.to_owned(),
        }
    }

    fn wrong<T>(&self, key: &str, found: &Value, expected: &str) -> Result<T> {
        let mut found = found.to_string();
        if found.len() > 100 {
            found.truncate(found.floor_char_boundary(100));
            found.push_str("...");
        }
        query_err!("cannot use {}: {} is {found}, expected {expected}", self.path.display(), self.place(key))
    }

    /// An error about what no graph can be built for.
    pub(super) fn unsupported<T>(&self, what: &str) -> Result<T> {
        query_err!(
            "cannot build a graph from {}: {what}; export the model to ONNX, as onnx/model.onnx in its folder",
            self.path.display()
        )
    }

    /// A whole number from 1, under the first of `keys` that is there: families call one thing by several names.
    pub(super) fn size(&self, keys: &[&str]) -> Result<usize> {
        match keys.iter().find_map(|key| self.value(key).map(|value| (key, value))) {
            Some((key, value)) => match value.as_u64().filter(|size| (1..MAX_SIZE).contains(size)) {
                Some(size) => Ok(usize::try_from(size).unwrap_or(usize::MAX)),
                None => self.wrong(key, value, "a whole number from 1"),
            },
            None => query_err!(
                "cannot use {}: it has no {}",
                self.path.display(),
                keys.iter().map(|key| self.place(key)).collect::<Vec<_>>().join(" or ")
            ),
        }
    }

    pub(super) fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.value(key).is_some() { self.size(&[key]) } else { Ok(default) }
    }

    /// A number, or the default.
    pub(super) fn number_or(&self, keys: &[&str], default: f32) -> Result<f32> {
        let Some((key, value)) = keys.iter().find_map(|key| self.value(key).map(|value| (key, value))) else {
            return Ok(default);
        };
        #[expect(clippy::cast_possible_truncation, reason = "the graph's numbers are f32")]
        match value.as_f64().map(|number| number as f32).filter(|number| number.is_finite()) {
            Some(number) => Ok(number),
            None => self.wrong(key, value, "a number"),
        }
    }

    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => self.wrong(key, other, "true or false"),
        }
    }

    pub(super) fn text_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            Some(other) => self.wrong(key, other, "a string"),
        }
    }

    /// The number of a token, 0 among them.
    pub(super) fn token_or(&self, key: &str, default: i64) -> Result<i64> {
        match self.value(key) {
            None => Ok(default),
            // some list several: the first is the one that the library looks for
            Some(value) => match value.get(0).unwrap_or(value).as_i64().filter(|token| *token >= 0) {
                Some(token) => Ok(token),
                None => self.wrong(key, value, "the number of a token"),
            },
        }
    }

    /// A list of strings, if there is one.
    pub(super) fn list(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let strings = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        if strings.is_some() { Ok(strings) } else { self.wrong(key, value, "a list of strings") }
    }

    /// A whole number, none where it is 0.
    pub(super) fn count(&self, key: &str, default: usize) -> Result<Option<usize>> {
        match self.value(key) {
            Some(value) if value.as_u64() == Some(0) => Ok(None),
            Some(_) => self.size(&[key]).map(Some),
            None => Ok(Some(default).filter(|default| *default > 0)),
        }
    }

    /// The side of a square, written as one number or as two that are equal.
    pub(super) fn side_or(&self, key: &str, default: usize) -> Result<usize> {
        let Some(value) = self.value(key) else { return Ok(default) };
        let side = match value.as_array().map(Vec::as_slice) {
            None => Some(value),
            Some([height, width]) if height == width => Some(height),
            Some(_) => None,
        };
        match side.and_then(Value::as_u64).filter(|side| (1..MAX_SIZE).contains(side)) {
            Some(side) => Ok(usize::try_from(side).unwrap_or(usize::MAX)),
            None => self.wrong(key, value, "the side of a square, from 1"),
        }
    }

    /// The base of rotary positions, which are not scaled: under `rope_parameters`, or in its section `kind` where layers
    /// of several kinds have their own; else under the first of the `older` keys; else the default.
    pub(super) fn rope_theta(&self, kind: Option<&'static str>, older: &[&str], default: f32) -> Result<f32> {
        let mut rope = self.section("rope_parameters")?;
        if let Some(kind) = kind {
            let of_no_kind = rope.values.values().any(|value| !value.is_object() && !value.is_null());
            if of_no_kind {
                return self.unsupported("rope_parameters has no section for each kind of layer");
            }
            rope = rope.section(kind)?;
        }
        for section in [&rope, &self.section("rope_scaling")?] {
            let kind = section.text_or("rope_type", section.text_or("type", "default")?)?;
            if kind != "default" {
                return section.unsupported(&format!("rope_type is '{kind}', not 'default'"));
            }
            if section.has("factor") {
                return section.unsupported("rotary positions are scaled by a factor");
            }
            let share = section.number_or(&["partial_rotary_factor"], 1.0)?;
            if (share - 1.0).abs() > f32::EPSILON {
                return section.unsupported(&format!("partial_rotary_factor is {share}, not 1"));
            }
        }
        match rope.has("rope_theta") {
            true => rope.number_or(&["rope_theta"], default),
            false => self.number_or(older, default),
        }
    }

    /// Whether a key is there without a value.
    pub(super) fn is_null(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(Value::is_null)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// What each head has of a vector.
    pub(super) fn head_size(&self, hidden: usize, heads: usize) -> Result<usize> {
        match hidden.is_multiple_of(heads) {
            true => Ok(hidden / heads),
            false => query_err!(
                "cannot use {}: {} dimensions cannot be shared by {heads} attention heads",
                self.path.display(),
                hidden
            ),
        }
    }
}
