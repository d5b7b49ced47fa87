//! What clients ask about the server and its types.

use arrow_flight::error::Result;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Nullable, Searchable, SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity,
    SqlSupportedGroupBy, SqlSupportedSubqueries, SqlSupportedTransaction, SqlSupportedUnions,
    SupportedSqlGrammar, XdbcDataType, XdbcDatetimeSubcode,
};
use datafusion::prelude::SessionContext;

/// What the server can do.
pub(super) fn sql_info(ctx: &SessionContext, allow_writes: bool) -> Result<SqlInfoData> {
    let bits = |flags: &[i32]| flags.iter().fold(0, |bits, flag| bits | 1 << flag);
    let mut functions: Vec<String> = ctx.state().scalar_functions().keys().cloned().collect();
    functions.sort_unstable();
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "semsql");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, !allow_writes);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, allow_writes);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 0);
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, 0);
    info.append(SqlInfo::SqlDdlCatalog, allow_writes);
    info.append(SqlInfo::SqlDdlSchema, allow_writes);
    info.append(SqlInfo::SqlDdlTable, allow_writes);
    info.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32,
    );
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32);
    info.append(SqlInfo::SqlKeywords, Vec::<String>::new());
    info.append(SqlInfo::SqlNumericFunctions, Vec::<String>::new());
    info.append(SqlInfo::SqlStringFunctions, Vec::<String>::new());
    info.append(SqlInfo::SqlSystemFunctions, functions);
    info.append(SqlInfo::SqlDatetimeFunctions, Vec::<String>::new());
    info.append(SqlInfo::SqlSearchStringEscape, "\\");
    info.append(SqlInfo::SqlExtraNameCharacters, "");
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlNullPlusNullIsNull, true);
    info.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    info.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    info.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    info.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    info.append(SqlInfo::SqlSupportedGroupBy, bits(&[SqlSupportedGroupBy::SqlGroupByUnrelated as i32]));
    info.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    info.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    info.append(SqlInfo::SqlSupportedGrammar, bits(&[SupportedSqlGrammar::SqlCoreGrammar as i32]));
    info.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    info.append(
        SqlInfo::SqlOuterJoinsSupportLevel,
        bits(&[SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32]),
    );
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlProcedureTerm, "");
    info.append(SqlInfo::SqlCatalogAtStart, true);
    info.append(SqlInfo::SqlSelectForUpdateSupported, false);
    info.append(SqlInfo::SqlStoredProceduresSupported, false);
    info.append(
        SqlInfo::SqlSupportedSubqueries,
        bits(&[
            SqlSupportedSubqueries::SqlSubqueriesInComparisons as i32,
            SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
            SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
        ]),
    );
    info.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    info.append(
        SqlInfo::SqlSupportedUnions,
        bits(&[SqlSupportedUnions::SqlUnion as i32, SqlSupportedUnions::SqlUnionAll as i32]),
    );
    info.build()
}

/// The types of SQL that columns may have.
pub(super) fn type_info() -> Result<XdbcTypeInfoData> {
    use XdbcDataType::{
        XdbcBigint, XdbcBinary, XdbcBit, XdbcDate, XdbcDecimal, XdbcDouble, XdbcFloat, XdbcInteger,
        XdbcSmallint, XdbcTime, XdbcTimestamp, XdbcTinyint, XdbcVarchar,
    };
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, data_type, size, quote) in [
        ("BOOLEAN", XdbcBit, 1, None),
        ("TINYINT", XdbcTinyint, 8, None),
        ("SMALLINT", XdbcSmallint, 16, None),
        ("INTEGER", XdbcInteger, 32, None),
        ("BIGINT", XdbcBigint, 64, None),
        ("REAL", XdbcFloat, 24, None),
        ("DOUBLE", XdbcDouble, 53, None),
        ("DECIMAL", XdbcDecimal, 76, None),
        ("DATE", XdbcDate, 10, Some("'")),
        ("TIME", XdbcTime, 18, Some("'")),
        ("TIMESTAMP", XdbcTimestamp, 29, Some("'")),
        ("VARCHAR", XdbcVarchar, i32::MAX, Some("'")),
        ("BYTEA", XdbcBinary, i32::MAX, Some("x'")),
    ] {
        let is_number = matches!(
            data_type,
            XdbcTinyint | XdbcSmallint | XdbcInteger | XdbcBigint | XdbcFloat | XdbcDouble | XdbcDecimal
        );
        let subcode = match data_type {
            // a date has the number of a year
            XdbcDate => Some(XdbcDatetimeSubcode::XdbcSubcodeYear),
            XdbcTime => Some(XdbcDatetimeSubcode::XdbcSubcodeTime),
            XdbcTimestamp => Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
            _ => None,
        };
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type,
            column_size: Some(size),
            literal_prefix: quote.map(str::to_owned),
            literal_suffix: quote.map(|_| "'".to_owned()),
            create_params: (data_type == XdbcDecimal)
                .then(|| vec!["precision".to_owned(), "scale".to_owned()]),
            nullable: Nullable::NullabilityNullable,
            case_sensitive: data_type == XdbcVarchar,
            searchable: Searchable::Full,
            unsigned_attribute: is_number.then_some(false),
            fixed_prec_scale: false,
            auto_increment: is_number.then_some(false),
            local_type_name: Some(name.to_owned()),
            minimum_scale: (data_type == XdbcDecimal).then_some(0),
            maximum_scale: (data_type == XdbcDecimal).then_some(76),
            sql_data_type: if subcode.is_some() { XdbcDataType::XdbcDatetime } else { data_type },
            datetime_subcode: subcode,
            num_prec_radix: is_number.then_some(if data_type == XdbcDecimal { 10 } else { 2 }),
            interval_precision: None,
        });
    }
    types.build()
}
