//! `semsql` as a user runs it: another process, its output, its exit status.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// What a run of `semsql` left behind.
struct Run {
    out: String,
    err: String,
    status: Option<i32>,
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn semsql_in(folder: &Path, arguments: &[&str], stdin: &str) -> Run {
    let mut child = command(folder, arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Run {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code(),
    }
}

fn semsql(arguments: &[&str]) -> Run {
    semsql_in(Path::new("."), arguments, "")
}

/// The output of a run that must succeed without a word on standard error.
fn output(arguments: &[&str]) -> String {
    let run = semsql(arguments);
    assert_eq!((run.status, run.err.as_str()), (Some(0), ""), "{arguments:?}");
    run.out
}

fn error(folder: &Path, sql: &str) -> String {
    let run = semsql_in(folder, &["-c", sql], "");
    assert_eq!((run.status, run.out.as_str()), (Some(1), ""), "{sql}");
    run.err.lines().next().unwrap_or_default().to_owned()
}

/// A vector of 384 floats, among them some that have no short decimal form.
const EMBEDDING: &str = "arrow_cast(range(0, 384), 'FixedSizeList(384, Float32)')";

#[test]
fn a_table_shows_names_types_and_nulls() {
    let expected = "\
╭───────┬────────╮
│     a ┆ b      │
│ Int64 ┆ String │
╞═══════╪════════╡
│     1 ┆ x      │
│     2 ┆ NULL   │
╰───────┴────────╯
(2 rows)
";
    assert_eq!(output(&["-c", "SELECT * FROM (VALUES (1, 'x'), (2, NULL)) t(a, b)"]), expected);
}

#[test]
fn an_embedding_is_a_sparkline_in_a_table() {
    let table = output(&["-c", &format!("SELECT {EMBEDDING} AS e UNION ALL SELECT NULL")]);
    assert!(table.contains("│ Embedding[Float32; 384]  │"), "{table}");
    assert!(table.contains("│ ▁▁▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆▇▇▇██ │"), "{table}");
    assert!(table.contains("│ NULL                     │"), "{table}");
}

#[test]
fn commands_and_files_run_in_the_order_given() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("two.sql"), "\u{feff}SELECT 2 AS n;\n-- done\n").unwrap();
    let line = [
        "-q",
        "--format",
        "csv",
        "-c",
        "SELECT 1 AS n",
        "-f",
        "two.sql",
        "-c",
        "SELECT 3 AS n; SELECT 4 AS n",
    ];
    let run = semsql_in(folder.path(), &line, "SELECT 5 AS n");
    assert_eq!((run.out.as_str(), run.err.as_str()), ("n\n1\nn\n2\nn\n3\nn\n4\n", ""));
}

#[test]
fn standard_input_is_a_script() {
    let run =
        semsql_in(Path::new("."), &["--format", "csv"], "CREATE TABLE t AS SELECT 7 AS n;\nSELECT * FROM t");
    assert_eq!((run.out.as_str(), run.status), ("n\n7\n", Some(0)));
    let run =
        semsql_in(Path::new("."), &["--format", "csv", "-c", "SELECT 1 AS n", "-f", "-"], "SELECT 2 AS n");
    assert_eq!(run.out, "n\n1\nn\n2\n");
}

#[test]
fn the_first_failure_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let script = "SELECT 1 AS n;\n\nSELECT 1\n     + nope FROM (SELECT 1 AS x) AS t;\nSELECT 3 AS n;\n";
    fs::write(folder.path().join("bad.sql"), script).unwrap();
    let run = semsql_in(folder.path(), &["--format", "csv", "-f", "bad.sql", "-c", "SELECT 4 AS n"], "");
    assert_eq!((run.out.as_str(), run.status), ("n\n1\n", Some(1)));
    assert_eq!(
        run.err,
        "semsql: bad.sql:4:8: statement 2: there is no column nope; there are t.x\n       + nope FROM (SELECT 1 AS x) AS t\n         ^\n"
    );
}

#[test]
fn a_syntax_error_has_its_place_in_the_script() {
    let run = semsql(&["-c", "SELECT 1; SELECT FROM WHERE"]);
    assert_eq!(run.status, Some(1));
    assert!(run.err.starts_with("semsql: -c:1:"), "{}", run.err);
    let run = semsql_in(Path::new("."), &[], "SELECT 1;\nSELECT 'a;\n");
    assert_eq!(
        (run.out.as_str(), run.err.as_str()),
        ("", "semsql: stdin:2:8: Unterminated string literal\n  SELECT 'a;\n         ^\n")
    );
}

#[test]
fn a_script_that_is_not_there_is_an_error() {
    let run = semsql(&["-f", "no/such.sql"]);
    assert_eq!((run.err.as_str(), run.status), ("semsql: file not found: no/such.sql\n", Some(1)));
}

#[test]
fn json_is_valid_and_complete() {
    let sql = format!(
        "SELECT 1 AS n, 'x\"y' AS t, NULL AS z, 'NaN'::double AS nan, arrow_cast('Infinity', 'Float32') AS inf, \
         x'00ff' AS b, [0.1::real, NULL] AS l, {EMBEDDING} AS e"
    );
    let rows: Value = serde_json::from_str(&output(&["--format", "json", "-c", &sql])).unwrap();
    let embedding: Vec<f32> = (0..384_u16).map(f32::from).collect();
    let expected = json!({
        "n": 1, "t": "x\"y", "z": null, "nan": null, "inf": null, "b": "00ff", "l": [0.1, null], "e": embedding
    });
    assert_eq!(rows, json!([expected]));
    assert_eq!(output(&["--format", "json", "-c", "SELECT 1 AS n WHERE false"]), "[]\n");

    let lines = output(&["--format", "ndjson", "-c", "SELECT * FROM (VALUES (1), (NULL)) t(n)"]);
    assert_eq!(lines, "{\"n\":1}\n{\"n\":null}\n");
}

#[test]
fn columns_of_one_name_stay_apart_in_json() {
    let sql = "SELECT a.n, b.n FROM (SELECT 1 AS n) a, (SELECT 2 AS n) b";
    assert_eq!(output(&["--format", "ndjson", "-c", sql]), "{\"n\":1,\"n_2\":2}\n");
}

#[test]
fn csv_reads_back_as_the_same_floats() {
    // of 32-bit floats, each a neighbour of the last: the shortest text must still tell them apart
    let folder = tempfile::tempdir().unwrap();
    let sql = "SELECT arrow_cast([0.1, 0.33333334, 1e-38, 16777217.0, 3.4028235e38, -0.0], 'FixedSizeList(6, Float32)') AS e, \
               arrow_cast(0.1, 'Float32') AS f, NULL AS z, 'a,b\nc' AS t";
    let run = semsql_in(folder.path(), &["--format", "csv", "-c", sql], "");
    fs::write(folder.path().join("x.csv"), &run.out).unwrap();
    let read = semsql_in(folder.path(), &["--format", "json", "-c", "SELECT * FROM 'x.csv'"], "");
    let rows: Value = serde_json::from_str(&read.out).unwrap();
    let embedding: Vec<f32> = serde_json::from_str(rows[0]["e"].as_str().unwrap()).unwrap();
    let expected = [0.1_f32, 0.333_333_34, 1e-38, 16_777_217.0, f32::MAX, -0.0];
    assert_eq!(embedding.map_bits(), expected.to_vec().map_bits());
    assert_eq!((&rows[0]["f"], &rows[0]["z"], &rows[0]["t"]), (&json!(0.1), &Value::Null, &json!("a,b\nc")));
}

/// Bits tell -0.0 from 0.0.
trait MapBits {
    fn map_bits(&self) -> Vec<u32>;
}

impl MapBits for Vec<f32> {
    fn map_bits(&self) -> Vec<u32> {
        self.iter().map(|float| float.to_bits()).collect()
    }
}

#[test]
fn csv_and_tsv_have_a_header_above_nothing() {
    assert_eq!(output(&["--format", "csv", "-c", "SELECT 1 AS a, [1] AS b WHERE false"]), "a,b\n");
    assert_eq!(output(&["--format", "tsv", "-c", "SELECT 1 AS a, 'x' AS b"]), "a\tb\n1\tx\n");
}

#[test]
fn maxrows_cuts_a_table_and_counts_the_rest() {
    let table = output(&["-c", "SELECT * FROM generate_series(1, 12345)"]);
    assert_eq!(table.lines().count(), 40 + 6);
    assert!(table.ends_with("(showing 40 of 12,345 rows)\n"), "{table}");
    assert!(output(&["--maxrows", "2", "-c", "SELECT 1 UNION ALL SELECT 2"]).ends_with("(2 rows)\n"));
    assert_eq!(
        output(&["--maxrows", "0", "-q", "-c", "SELECT * FROM generate_series(1, 100)"]).lines().count(),
        105
    );
    let csv = ["--format", "csv", "-c", "SELECT value AS n FROM generate_series(1, 10000)"];
    assert_eq!(output(&csv).lines().count(), 10_001);
    assert_eq!(output(&[&["--maxrows", "2"], &csv[..]].concat()), "n\n1\n2\n");
}

#[test]
fn quiet_prints_results_only() {
    assert!(
        output(&["-q", "-c", "CREATE TABLE t AS SELECT 1 AS a; SET datafusion.execution.batch_size = 10"])
            .is_empty()
    );
    assert!(output(&["-q", "-c", "SELECT 1 AS a"]).ends_with("╯\n"));
}

#[test]
fn a_plan_prints_as_lines() {
    let plan = output(&["-q", "-c", "EXPLAIN SELECT * FROM (VALUES (1), (2)) t(a) WHERE a > 1"]);
    assert!(plan.starts_with("logical_plan:\n  SubqueryAlias: t\n    Projection: "), "{plan}");
    assert!(plan.contains("physical_plan:\n  "), "{plan}");
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    for format in ["csv", "json", "ndjson"] {
        let sql = "SELECT * FROM generate_series(1, 100000000000)";
        let mut child = command(Path::new("."), &["--format", format, "-c", sql]).spawn().unwrap();
        let mut first = [0; 1];
        std::io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{format}");
    }
}

#[test]
fn rows_arrive_while_the_query_runs() {
    let sql = "SELECT * FROM generate_series(1, 100000000000)";
    let mut child = command(Path::new("."), &["--format", "ndjson", "-c", sql]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "{\"value\":1}\n");
    child.wait().unwrap();
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_script_with_130() {
    for endless in [
        "SELECT count(*) FROM generate_series(1, 100000000000)",
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    ] {
        let mut child = command(Path::new("."), &["-c", "SELECT 1 AS n", "-c", endless]).spawn().unwrap();
        // the first result says that the program is under way
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(130), &b""[..]));
    }
}

#[test]
fn a_thousand_terms_do_not_overflow_the_stack() {
    // over rows, so that a thread that executes walks the tree as well
    let sum = vec!["n"; 1000].join("+");
    let sql = format!(
        "SELECT sum({sum}) AS s FROM (SELECT value AS n FROM generate_series(1, 10)) t GROUP BY n % 1"
    );
    let run = semsql_in(Path::new("."), &["--format", "csv", "-q"], &sql);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("s\n55000\n", ""));
}

#[test]
fn nesting_beyond_the_limit_is_an_error() {
    let nested = format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500));
    assert!(error(Path::new("."), &nested).starts_with("semsql: -c:1:1: the statement is nested too deeply"));
}

/// A folder with one table in every format, and files that cannot be read.
fn folder_of_files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("t.csv", "id,text\n1,a\n2,\n");
    write("t.TSV", "id\ttext\n1\ta\n2\t\n");
    write("t.ndjson", "{\"id\":1,\"text\":\"a\"}\n{\"id\":2}\n");
    write("t.jsonl", "{\"id\":1,\"text\":\"a\"}\n{\"id\":2}\n");
    write("t.json", " [{\"id\":1,\"text\":\"a\"},\n{\"id\":2}]");
    for ending in ["parquet", "arrow"] {
        let sql = format!("COPY (SELECT * FROM 't.csv' ORDER BY id) TO 't.{ending}'");
        assert_eq!(semsql_in(folder.path(), &["-c", &sql], "").err, "");
    }
    fs::copy(folder.path().join("t.arrow"), folder.path().join("t.feather")).unwrap();
    fs::copy(folder.path().join("t.arrow"), folder.path().join("t.ipc")).unwrap();
    fs::create_dir(folder.path().join("many")).unwrap();
    write("many/1 [a].csv", "id\n1\n");
    write("many/2.csv", "id\n2\n");
    write("many/_SUCCESS", "");
    write("many/readme.md", "");
    write("bad.parquet", "not a table");
    write("bad.json", "{\"id\":");
    write("empty.csv", "");
    write("t.csv.gz", "");
    write("t.xlsx", "");
    folder
}

#[test]
fn a_quoted_path_is_a_table() {
    let folder = folder_of_files();
    for file in ["csv", "TSV", "ndjson", "jsonl", "json", "parquet", "arrow", "feather", "ipc"] {
        let sql = format!("SELECT id, text FROM 't.{file}' ORDER BY id");
        let run = semsql_in(folder.path(), &["--format", "ndjson", "-c", &sql], "");
        assert_eq!(run.err, "", "{file}");
        assert_eq!(run.out, "{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\":null}\n", "{file}");
    }
    let absolute = format!("SELECT count(*) AS n FROM '{}/t.csv'", folder.path().display());
    assert_eq!(output(&["--format", "csv", "-c", &absolute]), "n\n2\n");
}

#[test]
fn a_glob_and_a_folder_are_tables_too() {
    let folder = folder_of_files();
    for path in ["many/*.csv", "many/", "./many", "m*/?*.csv", "**/[12]*.csv"] {
        let sql = format!("SELECT id FROM '{path}' ORDER BY id");
        let run = semsql_in(folder.path(), &["--format", "csv", "-c", &sql], "");
        assert_eq!((run.out.as_str(), run.err.as_str()), ("id\n1\n2\n", ""), "{path}");
    }
    let one = semsql_in(folder.path(), &["--format", "csv", "-c", "SELECT id FROM 'many/1 [a].csv'"], "");
    assert_eq!((one.out.as_str(), one.err.as_str()), ("id\n1\n", ""));
}

#[test]
fn hidden_files_and_markers_of_a_folder_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("t")).unwrap();
    for (name, content) in [("1.csv", "id\n1\n"), ("_tmp.csv", "id\n2\n"), (".3.csv", "id\n3\n")] {
        fs::write(folder.path().join("t").join(name), content).unwrap();
    }
    let run = semsql_in(folder.path(), &["--format", "csv", "-c", "SELECT id FROM 't/'"], "");
    assert_eq!((run.out.as_str(), run.err.as_str()), ("id\n1\n", ""));
}

#[test]
fn partition_folders_are_columns() {
    let folder = tempfile::tempdir().unwrap();
    for year in ["2023", "2024"] {
        fs::create_dir_all(folder.path().join(format!("t/year={year}"))).unwrap();
        fs::write(folder.path().join(format!("t/year={year}/a.csv")), "id\n1\n").unwrap();
    }
    let run = semsql_in(folder.path(), &["--format", "csv", "-c", "SELECT * FROM 't/' ORDER BY year"], "");
    assert_eq!((run.out.as_str(), run.err.as_str()), ("id,year\n1,2023\n1,2024\n", ""));
    fs::write(folder.path().join("t/year=2024/_tmp.csv"), "id\n9\n").unwrap();
    let run = semsql_in(folder.path(), &["-c", "SELECT * FROM 't/'"], "");
    assert!(run.err.contains("_tmp.csv' is hidden or a marker"), "{}", run.err);
}

#[test]
fn a_new_file_of_a_folder_is_seen_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("t")).unwrap();
    fs::write(folder.path().join("t/1.csv"), "id\n1\n").unwrap();
    let script =
        "SELECT count(*) AS n FROM 't/'; COPY (SELECT 2 AS id) TO 't/2.csv'; SELECT count(*) AS n FROM 't/'";
    let run = semsql_in(folder.path(), &["--format", "csv", "-c", script], "");
    assert_eq!((run.out.as_str(), run.err.as_str()), ("n\n1\ncount\n1\nn\n2\n", ""));
}

#[test]
fn a_path_that_cannot_be_read_says_why() {
    let folder = folder_of_files();
    let folder = folder.path();
    let of = |path: &str| {
        let text = error(folder, &format!("SELECT * FROM '{path}'"));
        text.strip_prefix("semsql: -c:1:15: ").unwrap_or(&text).to_owned()
    };
    assert_eq!(of("u.parquet"), "file not found: 'u.parquet'; did you mean 't.parquet' or 'bad.parquet'?");
    assert_eq!(of("no/t.csv"), "file not found: 'no/t.csv' (there is no folder 'no')");
    assert_eq!(of("many/*.json"), "no file matches 'many/*.json'");
    assert_eq!(of("no/*.json"), "no file matches 'no/*.json': there is no folder 'no'");
    assert_eq!(
        of("t.xlsx"),
        "cannot read 't.xlsx': .xlsx is not supported; \
         supported are .parquet, .csv, .tsv, .json, .ndjson, .jsonl, .arrow, .ipc, .feather"
    );
    assert_eq!(
        of("t.csv.gz"),
        "cannot read 't.csv.gz': compressed files are not supported, decompress it first"
    );
    assert_eq!(of("empty.csv"), "'empty.csv' has no columns: is the file empty?");
    assert!(of("bad.parquet").starts_with("cannot read 'bad.parquet' as Parquet: "));
    assert!(of("*.parquet").starts_with("cannot read 'bad.parquet' (of '*.parquet') as Parquet: "));
    assert!(of("bad.json").starts_with("cannot read 'bad.json' as JSON: "));
    assert_eq!(
        of("t.csv*"),
        "cannot read 't.csv.gz': compressed files are not supported, decompress it first (of 't.csv*')"
    );
    assert_eq!(
        of("t.{csv,TSV}"),
        "'t.{csv,TSV}' matches TSV and CSV files ('t.TSV' and 't.csv'): narrow it to one kind"
    );
    assert!(
        of("./")
            .starts_with("folder './' holds files of several kinds (.TSV, .arrow, .csv, .feather, .ipc, ")
    );
    let foreign = error(folder, "SELECT * FROM 'ftp://user:SECRET@example.com/t.csv'");
    assert!(foreign.contains("cannot reach this 'ftp://' location: write ftp://NAME/path"), "{foreign}");
    assert!(!foreign.contains("SECRET"), "{foreign}");
    assert_eq!(of("nothing"), "table 'nothing' not found");
}

#[test]
fn a_registered_table_goes_before_a_file() {
    let folder = folder_of_files();
    let script = "CREATE EXTERNAL TABLE \"t.csv\" STORED AS CSV LOCATION 'many/2.csv' OPTIONS (format.has_header true); SELECT * FROM 't.csv'";
    let run = semsql_in(folder.path(), &["--format", "csv", "-c", script], "");
    assert_eq!((run.out.as_str(), run.err.as_str()), ("id\n2\n", ""));
}

#[test]
fn help_and_version_are_there() {
    assert!(output(&["--version"]).starts_with("semsql "));
    let help = output(&["--help"]);
    assert!(help.contains("Examples:") && help.contains("--maxrows"), "{help}");
}

#[test]
fn a_wrong_option_is_a_usage_error() {
    let run = semsql(&["--format", "xml"]);
    assert_eq!(run.status, Some(2));
    assert!(run.err.contains("possible values: table, csv, tsv, json, ndjson, html"), "{}", run.err);
}

#[test]
fn commands_stand_between_statements() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("it's.sql", "CREATE TABLE t AS SELECT :n AS n, :'who' AS who, NULL AS e;\n");
    write(
        "all.sql",
        "\\set n 3\n\\set who O'Neill\n\\i 'it''s.sql'\n\\pset format csv\nSELECT * FROM t;\n\\pset format table\n\\pset null -\n\\echo 'a  b' :n\nSELECT e FROM t WHERE n = :n;\n",
    );
    let run = semsql_in(folder.path(), &["-f", "all.sql"], "");
    assert_eq!(run.err, "");
    let expected =
        "n,who,e\n3,O'Neill,\na  b 3\n╭──────╮\n│ e    │\n│ Null │\n╞══════╡\n│ -    │\n╰──────╯\n(1 row)\n";
    assert_eq!(run.out, expected);
}

#[test]
fn a_command_that_fails_ends_a_script_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("loop.sql"), "\\i loop.sql\n").unwrap();
    let of = |sql: &str| {
        let run = semsql_in(folder.path(), &["--format", "csv"], sql);
        assert_eq!(run.status, Some(1), "{sql}");
        run.err.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(of("\\timng"), "semsql: stdin:1:1: there is no command \\timng; did you mean \\timing?");
    assert_eq!(
        of("SELECT 1;\n \\i no.sql\nSELECT 2"),
        "semsql: stdin:2:2: statement 2: \\i: file not found: no.sql"
    );
    assert!(
        of("\\i loop.sql")
            .ends_with("loop.sql:1:1: \\i: loop.sql is the 16th file that a file runs: is there a loop?")
    );
    assert_eq!(
        of("\\pset maxrows many"),
        "semsql: stdin:1:1: \\pset: maxrows is the most rows of a result, 0 for all, or default, found 'many'"
    );
    assert_eq!(of("\\set 1a b"), "semsql: stdin:1:1: \\set: '1a' is no name: letters, digits and _ make one");
    assert_eq!(of("\\o 'x"), "semsql: stdin:1:1: a quote is not closed: 'x");
    assert_eq!(
        of("SELECT 1\n\\d"),
        "semsql: stdin:2:1: expected end of statement, found \\; a command stands on a line of its own, behind the semicolon of the statement before it"
    );
    assert_eq!(
        of("SELECT :x"),
        "semsql: stdin:1:1: Placeholder ':x' was not provided a value for execution; \\set NAME VALUE gives :NAME a value"
    );
}

#[test]
fn quitting_ends_a_script_as_its_end_does() {
    let run = semsql_in(Path::new("."), &["--format", "csv"], "SELECT 1 AS n;\n\\q\nSELECT 2 AS n;");
    assert_eq!((run.out.as_str(), run.err.as_str(), run.status), ("n\n1\n", "", Some(0)));
}

#[test]
fn results_are_sent_to_a_file_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let script = "\\pset format csv\n\\o out.csv\nSELECT 1 AS n;\n\\o\nSELECT 2 AS n;";
    let run = semsql_in(folder.path(), &[], script);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("n\n2\n", ""));
    assert_eq!(fs::read_to_string(folder.path().join("out.csv")).unwrap(), "n\n1\n");
}

#[test]
fn tables_columns_functions_and_models_are_described() {
    let folder = folder_of_files();
    let of = |script: &str| {
        let run = semsql_in(folder.path(), &["--format", "csv"], script);
        assert_eq!(run.err, "", "{script}");
        run.out
    };
    let table =
        format!("CREATE TABLE t AS SELECT 1 AS id, {EMBEDDING} AS e;\nCREATE VIEW v AS SELECT id FROM t;\n");
    assert_eq!(of(&format!("{table}\\d")), "schema,name,type\npublic,t,base table\npublic,v,view\n");
    let columns = of(&format!("{table}\\d t"));
    assert!(columns.contains("id,Int64,no\n") && columns.contains("e,Embedding[Float32; 384],"), "{columns}");
    assert_eq!(of("\\d t.csv"), "column,type,nullable\nid,Int64,yes\ntext,String,yes\n");
    let run = semsql_in(
        folder.path(),
        &["-c", "CREATE TABLE documents AS SELECT 1 AS n", "-c", "\\d documnts"],
        "",
    );
    assert_eq!(run.err, "semsql: -c:1:1: \\d: table 'documnts' not found; did you mean 'documents'?\n");

    let functions = of("\\df");
    assert!(functions.contains("\nembed_text,scalar,\"embed_text(text [, model"), "{functions}");
    assert!(!functions.contains("\nupper,"), "{functions}");
    assert!(of("\\df *").contains("\nupper,scalar,"));
    let one = of("\\df embed_text");
    assert!(one.starts_with("embed_text(text [, model") && one.contains("\n  on_error: "), "{one}");
    let run = semsql_in(folder.path(), &["-c", "\\df nothing"], "");
    assert!(run.err.contains("\\df: no function matches 'nothing'"), "{}", run.err);
    assert!(of("\\models").contains("all-MiniLM-L6-v2"));
}

#[test]
fn times_are_shown_where_they_are_asked_for() {
    let run = semsql_in(Path::new("."), &[], "\\timing on\nSELECT 1 AS n;\n\\timing off\nSELECT 2 AS n;");
    assert_eq!(run.out.matches(" s)").count(), 1, "{}", run.out);
    assert!(run.out.contains("(1 row, 0.") && run.out.contains("(1 row)\n"), "{}", run.out);
}
