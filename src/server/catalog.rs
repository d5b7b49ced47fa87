//! The catalogs, schemas and tables that clients list.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::error::Result as FlightResult;
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};
use datafusion::logical_expr::TableType;
use datafusion::prelude::SessionContext;

use super::wire::wire_schema;

/// The kinds of tables.
const TABLE_TYPES: [TableType; 3] = [TableType::Base, TableType::View, TableType::Temporary];

fn name_of(table_type: TableType) -> &'static str {
    match table_type {
        TableType::Base => "TABLE",
        TableType::View => "VIEW",
        TableType::Temporary => "LOCAL TEMPORARY",
    }
}

pub(super) fn catalogs(ctx: &SessionContext, command: CommandGetCatalogs) -> FlightResult<RecordBatch> {
    let mut builder = command.into_builder();
    for catalog in ctx.catalog_names() {
        builder.append(catalog);
    }
    builder.build()
}

pub(super) fn schemas(ctx: &SessionContext, command: CommandGetDbSchemas) -> FlightResult<RecordBatch> {
    let mut builder = command.into_builder();
    for catalog in ctx.catalog_names() {
        let schemas = ctx.catalog(&catalog).map(|found| found.schema_names());
        for schema in schemas.into_iter().flatten() {
            builder.append(&catalog, schema);
        }
    }
    builder.build()
}

pub(super) fn table_types(command: CommandGetTableTypes) -> FlightResult<RecordBatch> {
    let mut builder = command.into_builder();
    for table_type in TABLE_TYPES {
        builder.append(name_of(table_type));
    }
    builder.build()
}

/// A table that cannot be opened is left out.
pub(super) async fn tables(ctx: &SessionContext, command: CommandGetTables) -> FlightResult<RecordBatch> {
    let mut builder = command.into_builder();
    for catalog_name in ctx.catalog_names() {
        let Some(catalog) = ctx.catalog(&catalog_name) else { continue };
        for schema_name in catalog.schema_names() {
            let Some(schema) = catalog.schema(&schema_name) else { continue };
            for name in schema.table_names() {
                let Ok(Some(table)) = schema.table(&name).await else { continue };
                let table_schema: Schema = wire_schema(&table.schema()).as_ref().clone();
                let table_type = name_of(table.table_type());
                builder.append(&catalog_name, &schema_name, &name, table_type, &table_schema)?;
            }
        }
    }
    builder.build()
}
