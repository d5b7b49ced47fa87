//! The table function `functions()`.
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::catalog::{MemTable, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Documentation, Expr};

/// `functions()`: a table of our functions with name, kind, syntax, description, arguments and an example.
///
/// `information_schema.routines` has no text for async functions: they do not hand out their documentation.
#[derive(Debug)]
pub(crate) struct FunctionsTable {
    rows: Vec<[String; 6]>,
}

impl FunctionsTable {
    /// The functions by kind, name and documentation, and the table functions.
    pub(crate) fn new<'a>(functions: impl Iterator<Item = (&'a str, &'a str, &'a Documentation)>) -> Self {
        let mut rows: Vec<[String; 6]> = functions
            .map(|(kind, name, documentation)| {
                let arguments = documentation.arguments.iter().flatten();
                let arguments: Vec<String> =
                    arguments.map(|(name, text)| format!("{name}: {text}")).collect();
                [
                    name.to_owned(),
                    kind.to_owned(),
                    documentation.syntax_example.clone(),
                    documentation.description.clone(),
                    arguments.join("\n"),
                    documentation.sql_example.clone().unwrap_or_default(),
                ]
            })
            .collect();
        rows.extend(TABLE_FUNCTIONS.map(|row| row.map(ToOwned::to_owned)));
        rows.sort();
        Self { rows }
    }
}

const PATTERN: &str = "pattern: A path, or a URL as download reads it, in which ? is one character, * any characters of a name, ** any folders, [ab] one of these.";

const TABLE_FUNCTIONS: [[&str; 6]; 4] = [
    [
        "functions",
        "table",
        "functions()",
        "The functions of this extension: name, kind, syntax, description, arguments, example.",
        "",
        "SELECT name, syntax FROM functions()",
    ],
    [
        "glob",
        "table",
        "glob(pattern)",
        "The files that match a pattern, sorted by path: path, size in bytes, last_modified.",
        PATTERN,
        "SELECT path, size FROM glob('photos/*.png')",
    ],
    [
        "models",
        "table",
        "models()",
        "The models that are known by name: provider, model, kind ('text', 'image' or 'text, image'), dimensions, max_tokens, revision, path, bytes, licence. Those on this machine, and those of providers on the network that need no question.",
        "",
        "SELECT model, kind, dimensions FROM models() WHERE provider = 'transformers'",
    ],
    [
        "read_blob",
        "table",
        "read_blob(pattern)",
        "The files that match a pattern, as glob gives them, and their content.",
        PATTERN,
        "SELECT path, decode_image(content) FROM read_blob('photos/*.png')",
    ],
];

impl TableFunctionImpl for FunctionsTable {
    fn call(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        if !arguments.is_empty() {
            return plan_err!("functions: expected no argument, found {}", arguments.len());
        }
        let names = ["name", "kind", "syntax", "description", "arguments", "example"];
        let columns = names.iter().enumerate().map(|(index, name)| {
            let values: StringArray = self.rows.iter().map(|row| Some(row[index].as_str())).collect();
            (*name, Arc::new(values) as ArrayRef)
        });
        let batch = RecordBatch::try_from_iter(columns)?;
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }
}
