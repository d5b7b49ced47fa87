//! Writes embeddings to Parquet in a layout that is read fast.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use crate::config::{ParquetVectors, SemanticOptions};
use crate::types::packed::{is_embedding, packed_field};

/// The rule `semantic.pack_vectors`: in `COPY ... TO 'x.parquet'` embeddings become bytes (`vector_to_bytes`), unless
/// `semantic.parquet_vectors` says otherwise. Bytes are neither compressed, which they resist, nor counted in
/// statistics nor put into a dictionary, and row groups are cut by size, so that several can be read at the same time.
/// An option of the statement goes first.
///
/// [`crate::io`] has the tables that read them again.
#[derive(Debug)]
pub(super) struct PackVectors {
    /// `vector_to_bytes`
    pack: Arc<ScalarUDF>,
}

/// The size at which a row group is written.
const ROW_GROUP_BYTES: usize = 64 << 20;

impl PackVectors {
    pub(super) fn new(pack: Arc<ScalarUDF>) -> Self {
        Self { pack }
    }
}

impl AnalyzerRule for PackVectors {
    fn name(&self) -> &'static str {
        "semantic.pack_vectors"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let layout =
            config.extensions.get::<SemanticOptions>().map(|options| options.settings().parquet_vectors);
        if layout == Some(ParquetVectors::List) {
            return Ok(plan);
        }
        let packed = plan.transform_down(|plan| match plan {
            LogicalPlan::Copy(mut copy) if copy.file_type.get_ext() == "parquet" => {
                let schema = copy.input.schema();
                let packed: Vec<_> =
                    schema.fields().iter().filter(|field| is_embedding(field)).cloned().collect();
                if packed.is_empty() {
                    return Ok(Transformed::no(LogicalPlan::Copy(copy)));
                }
                for field in &packed {
                    set_options(field.name(), &mut copy.options);
                }
                set_row_groups(&packed, &mut copy.options);
                let columns = schema.iter().map(|(qualifier, field)| {
                    let column = Expr::from((qualifier, field));
                    match is_embedding(field) {
                        true => {
                            self.pack.call(vec![column]).alias_qualified(qualifier.cloned(), field.name())
                        }
                        false => column,
                    }
                });
                let columns: Vec<Expr> = columns.collect();
                let input = LogicalPlanBuilder::from(Arc::clone(&copy.input)).project(columns)?.build()?;
                copy.input = Arc::new(input);
                Ok(Transformed::yes(LogicalPlan::Copy(copy)))
            }
            plan => Ok(Transformed::no(plan)),
        })?;
        Ok(packed.data)
    }
}

/// How a packed column is written, unless `options` say otherwise.
fn set_options(column: &str, options: &mut HashMap<String, String>) {
    let for_column = [
        ("format.compression", "uncompressed"),
        ("format.dictionary_enabled", "false"),
        ("format.statistics_enabled", "none"),
    ];
    for (option, value) in for_column {
        if !options.contains_key(option) {
            options.entry(format!("{option}::{column}")).or_insert_with(|| value.to_owned());
        }
    }
}

/// Row groups of about [`ROW_GROUP_BYTES`], unless `options` say otherwise. DataFusion's own limit in bytes is not
/// looked at by its parallel writer.
fn set_row_groups(packed: &[FieldRef], options: &mut HashMap<String, String>) {
    let length = |field: &FieldRef| match *packed_field(field, "")?.data_type() {
        DataType::FixedSizeBinary(length) => usize::try_from(length).ok(),
        _ => None,
    };
    let row: usize = packed.iter().filter_map(length).sum();
    let rows = (ROW_GROUP_BYTES / row.max(1)).clamp(1024, 1 << 20);
    if !options.contains_key("format.max_row_group_bytes") {
        options.entry("format.max_row_group_size".to_owned()).or_insert_with(|| rows.to_string());
    }
}
