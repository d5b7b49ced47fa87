//! What there is in a session: tables, columns, functions, models.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::prelude::{DataFrame, SessionContext};

use super::commands::Problem;
use super::errors;
use super::print::print;
use super::run::Shell;
use crate::session;
use crate::statement::names::nearest;
use crate::types::SPACE_KEY;
use crate::types::display::type_name;

impl Shell {
    /// `\d`
    pub async fn describe_tables(&mut self) -> Result<(), Problem> {
        let tables = "SELECT table_schema AS schema, table_name AS name, lower(table_type) AS type \
                      FROM information_schema.tables WHERE table_schema <> 'information_schema' ORDER BY 1, 2";
        if session::sql(&self.ctx, tables).await?.count().await? == 0 {
            return Ok(self.say("there are no tables; a file is one: SELECT * FROM 'docs.parquet'")?);
        }
        self.show(session::sql(&self.ctx, tables).await?).await
    }

    /// `\d TABLE`
    pub async fn describe_table(&mut self, name: &str) -> Result<(), Problem> {
        let name = name.trim_end_matches(';').trim_end();
        // a path needs quotes in SQL, but nobody wants to type them here
        let is_path = !name.starts_with(['\'', '"']) && fs::exists(name).unwrap_or(false);
        let table = if is_path { format!("'{}'", name.replace('\'', "''")) } else { name.to_owned() };
        let frame = match session::sql(&self.ctx, &format!("SELECT * FROM {table} LIMIT 0")).await {
            Ok(frame) => frame,
            Err(error) => {
                let message = errors::message_of(&error);
                let known = table_names(&self.ctx);
                let guess = nearest(name, known.iter().map(String::as_str))
                    .filter(|_| message.contains("not found") && !message.contains("did you mean"));
                let guess = guess.map_or_else(String::new, |guess| format!("; did you mean '{guess}'?"));
                return Err(format!("\\d: {message}{guess}").into());
            }
        };
        let fields = frame.schema().fields();
        let texts = |text: &dyn Fn(&arrow::datatypes::Field) -> Option<String>| -> ArrayRef {
            Arc::new(fields.iter().map(|field| text(field)).collect::<StringArray>())
        };
        let mut columns = vec![
            ("column", texts(&|field| Some(field.name().clone()))),
            ("type", texts(&|field| Some(type_name(field)))),
            ("nullable", texts(&|field| Some(if field.is_nullable() { "yes" } else { "no" }.to_owned()))),
        ];
        if fields.iter().any(|field| field.metadata().contains_key(SPACE_KEY)) {
            columns.push(("space", texts(&|field| field.metadata().get(SPACE_KEY).cloned())));
        }
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .map_err(DataFusionError::from)?;
        let frame = self.ctx.read_batch(batch)?;
        self.show(frame).await
    }

    /// `\df [PATTERN]`
    pub async fn describe_functions(&mut self, pattern: &str) -> Result<(), Problem> {
        const OURS: &str = "SELECT name, kind, syntax FROM functions()";
        const THEIRS: &str = "SELECT DISTINCT routine_name AS name, lower(function_type) AS kind, syntax_example AS syntax \
                              FROM information_schema.routines WHERE routine_name NOT IN (SELECT name FROM functions())";
        if pattern.is_empty() {
            return self.show(session::sql(&self.ctx, &format!("{OURS} ORDER BY name")).await?).await;
        }
        let like = like(pattern);
        let found =
            format!("SELECT * FROM ({OURS} UNION ALL {THEIRS}) WHERE name ILIKE '{like}' ORDER BY name");
        let ours = format!("SELECT * FROM functions() WHERE name ILIKE '{like}'");
        let (count, of_ours) = (
            session::sql(&self.ctx, &found).await?.count().await?,
            texts(session::sql(&self.ctx, &ours).await?).await?,
        );
        match (count, of_ours.as_slice()) {
            (0, _) => {
                Err(format!("\\df: no function matches '{pattern}'; * is any text, \\df * lists all").into())
            }
            (1, [function]) => Ok(self.show_function(function)?),
            _ => self.show(session::sql(&self.ctx, &found).await?).await,
        }
    }

    fn show_function(&mut self, row: &[String]) -> std::io::Result<()> {
        let [_, kind, syntax, description, arguments, example] = row else { return Ok(()) };
        self.begin_page()?;
        writeln!(self.out, "{syntax}\n{kind} function. {description}")?;
        if !arguments.is_empty() {
            writeln!(self.out, "\nArguments:")?;
        }
        for argument in arguments.lines() {
            writeln!(self.out, "  {argument}")?;
        }
        if !example.is_empty() {
            writeln!(self.out, "\nExample:")?;
        }
        for line in example.lines() {
            writeln!(self.out, "  {line}")?;
        }
        self.out.flush()
    }

    /// `\models`
    pub async fn describe_models(&mut self) -> Result<(), Problem> {
        let models = models(&self.ctx).await?;
        self.show(models).await
    }

    async fn show(&mut self, frame: DataFrame) -> Result<(), Problem> {
        self.begin_page()?;
        let stream = frame.execute_stream().await?;
        print(stream, &self.settings, &mut self.out).await?;
        Ok(())
    }
}

/// The models that a session knows: a table with the columns `provider` and `model`.
pub async fn models(ctx: &SessionContext) -> Result<DataFrame> {
    session::sql(ctx, "SELECT * FROM models()").await
}

/// The tables of the default schema, and those of the others with its name.
pub fn table_names(ctx: &SessionContext) -> Vec<String> {
    let options = ctx.state().config_options().catalog.clone();
    let mut names = Vec::new();
    for catalog_name in ctx.catalog_names() {
        let Some(catalog) = ctx.catalog(&catalog_name) else { continue };
        for schema_name in catalog.schema_names() {
            let Some(schema) = catalog.schema(&schema_name) else { continue };
            let prefix =
                match (catalog_name == options.default_catalog, schema_name == options.default_schema) {
                    (true, true) => String::new(),
                    (true, false) => format!("{schema_name}."),
                    (false, _) => format!("{catalog_name}.{schema_name}."),
                };
            names.extend(schema.table_names().into_iter().map(|table| format!("{prefix}{table}")));
        }
    }
    names.sort();
    names
}

/// The rows of a frame as texts; NULL is an empty one.
pub async fn texts(frame: DataFrame) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for batch in frame.collect().await? {
        let columns = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        rows.extend((0..batch.num_rows()).map(|row| {
            let text = |column: &ArrayRef| column.as_string::<i32>().value(row).to_owned();
            columns.iter().map(text).collect()
        }));
    }
    Ok(rows)
}

/// `*` and `?` as LIKE writes them; text without either is looked for anywhere in a name.
fn like(pattern: &str) -> String {
    let escaped = pattern.replace('\'', "''").replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
    if pattern.contains(['*', '?']) {
        escaped.replace('*', "%").replace('?', "_")
    } else {
        format!("%{escaped}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_shells() {
        assert_eq!(like("embed_text"), r"%embed\_text%");
        assert_eq!(like("image_*"), r"image\_%");
        assert_eq!(like("l?_it's"), r"l_\_it''s");
    }
}
