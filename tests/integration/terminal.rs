//! `semsql` on a terminal: keys in, and what a person sees on the screen.
#![cfg(unix)]

use std::fs;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tempfile::TempDir;

const ROWS: u16 = 40;
const COLUMNS: u16 = 120;

const CTRL_C: &str = "\x03";
const UP: &str = "\x1b[A";

/// Long enough for a machine that does other things; what is there earlier is seen earlier.
const PATIENCE: Duration = Duration::from_mins(1);

/// A shell, its keyboard and its screen.
struct Terminal {
    keyboard: Box<dyn Write + Send>,
    seen: Arc<Mutex<Seen>>,
    shell: Box<dyn Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
}

struct Seen {
    screen: vt100::Parser,
    /// everything, escape sequences too
    bytes: Vec<u8>,
}

impl Terminal {
    /// A shell in `folder`, where it also keeps its files; ready to be typed at.
    fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_semsql"));
        command.args(arguments);
        command.cwd(folder);
        for variable in ["NO_COLOR", "PAGER", "LESS", "TMUX", "KITTY_WINDOW_ID", "TERM_PROGRAM"] {
            command.env_remove(variable);
        }
        command.env("TERM", "xterm-256color");
        command.env("XDG_CONFIG_HOME", folder.join("config"));
        command.env("XDG_STATE_HOME", folder.join("state"));
        for (name, value) in variables {
            command.env(name, value);
        }
        let shell = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().unwrap();
        let size = |length| NonZeroU16::new(length).unwrap();
        let screen = vt100::Parser::new(size(ROWS), size(COLUMNS), 0);
        let seen = Arc::new(Mutex::new(Seen { screen, bytes: Vec::new() }));
        let watched = Arc::clone(&seen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let mut seen = watched.lock().unwrap();
                seen.screen.process(&bytes[..length]);
                seen.bytes.extend_from_slice(&bytes[..length]);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        let terminal = Self { keyboard, seen, shell, _master: pair.master };
        terminal.until(|screen| screen.trim_end().ends_with("semsql>"));
        terminal
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Types a line and waits until the shell is ready for the next.
    fn enter(&mut self, line: &str) -> String {
        self.press("\x0c");
        self.until(|screen| screen.trim() == "semsql>");
        self.press(&format!("{line}\r"));
        let screen =
            self.until(|screen| screen.lines().count() > 1 && screen.trim_end().ends_with("\nsemsql>"));
        screen.trim_end().trim_end_matches("semsql>").to_owned()
    }

    fn screen(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    /// The screen as soon as it is as wanted.
    fn until(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if is_wanted(&screen) {
                return screen;
            }
            assert!(started.elapsed() < PATIENCE, "the screen is:\n{screen}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn until_shows(&self, text: &str) -> String {
        self.until(|screen| screen.contains(text))
    }

    /// What is typed, when Tab has made `expected` of it.
    fn completes(&mut self, typed: &str, expected: &str) {
        self.press(typed);
        self.press("\t");
        self.until(|screen| screen.trim_end().ends_with(&format!("semsql> {expected}")));
        self.press(CTRL_C);
        self.until(|screen| screen.trim_end().ends_with("\nsemsql>"));
    }

    fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_statement_spans_lines_until_its_semicolon() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    terminal.press("SELECT 'a;\r");
    terminal.press("b' AS text, -- ;\r");
    terminal.press("$$;$$ AS more;\r");
    let screen = terminal.until_shows("(1 row, ");
    assert!(screen.contains("│ a;\\nb  ┆ ;      │"), "{screen}");
}

#[test]
fn ctrl_c_drops_what_is_typed() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    terminal.press("SELECT 'not this\r");
    terminal.press(CTRL_C);
    terminal.until(|screen| screen.matches("semsql>").count() == 2);
    terminal.press("SELECT 6 * 7;\r");
    terminal.until_shows("│                  42 │");
}

#[test]
fn tab_completes_what_can_follow() {
    let folder = folder();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/photos of cats.csv"), "width,Nickname\n1,Tom\n").unwrap();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    terminal.enter("CREATE TABLE documents AS SELECT 1 AS document_id, 'x' AS body_text;");
    for (typed, expected) in [
        ("sele", "select "),
        ("SELE", "SELECT "),
        ("SELECT * FROM docu", "SELECT * FROM documents"),
        ("SELECT * FROM documents WHERE body", "SELECT * FROM documents WHERE body_text"),
        ("SELECT * FROM documents d WHERE d.bod", "SELECT * FROM documents d WHERE d.body_text"),
        ("SELECT embed_te", "SELECT embed_text("),
        ("SELECT embed_text(body_text, prov", "SELECT embed_text(body_text, provider => "),
        ("SELECT embed_text('x', on_error => 'n", "SELECT embed_text('x', on_error => 'null'"),
        ("SELECT embed_text('x', provider => 'coh", "SELECT embed_text('x', provider => 'cohere'"),
        ("SELECT * FROM 'data/pho", "SELECT * FROM 'data/photos of cats.csv"),
        (
            "SELECT * FROM 'data/photos of cats.csv' WHERE widt",
            "SELECT * FROM 'data/photos of cats.csv' WHERE width",
        ),
        (
            "SELECT * FROM 'data/photos of cats.csv' WHERE Nick",
            "SELECT * FROM 'data/photos of cats.csv' WHERE \"Nickname\"",
        ),
        ("SET semantic.text_", "SET semantic.text_model"),
        ("\\tim", "\\timing "),
        ("\\d docu", "\\d documents"),
        ("\\i dat", "\\i data/"),
        ("\\pset format nd", "\\pset format ndjson"),
    ] {
        terminal.completes(typed, expected.trim_end());
    }
    terminal.press("SELECT vector_\t\t");
    terminal.until(|screen| screen.contains("vector_norm") && screen.contains("vector_to_bytes"));
}

#[test]
fn what_was_typed_is_kept_for_its_owner() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    terminal.enter("SELECT 1 +\r1 AS kept;");
    terminal.press("\\q\r");
    terminal.shell.wait().unwrap();
    let history = folder.path().join("state/semsql/history");
    assert_eq!(fs::metadata(&history).unwrap().permissions().mode() & 0o777, 0o600);
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    terminal.press(UP);
    terminal.press(UP);
    terminal.until_shows("1 AS kept;");
    terminal.press("\r");
    terminal.until_shows("│     2 │");
}

#[test]
fn what_is_typed_has_colours_unless_nobody_wants_them() {
    let folder = folder();
    let typed = "SELECT 'x' AS colour;";
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    terminal.enter(typed);
    assert!(terminal.bytes().contains("\x1b[1;34mSELECT\x1b[0m \x1b[32m'x'\x1b[0m"), "{}", terminal.bytes());
    let mut terminal = Terminal::start(folder.path(), &[], &[("NO_COLOR", "1")]);
    terminal.enter(typed);
    assert!(!terminal.bytes().contains("\x1b[1;34m") && terminal.bytes().contains("SELECT 'x'"));
}

#[test]
fn a_long_embedding_shows_its_progress_until_ctrl_c() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    terminal.enter(
        "CREATE TABLE t AS SELECT concat('text number ', value) AS text FROM generate_series(1, 200000);",
    );
    for sql in
        ["SELECT embed_text(text) AS e FROM t;", "CREATE TABLE e AS SELECT embed_text(text) AS e FROM t;"]
    {
        terminal.press(&format!("{sql}\r"));
        let is_progress = |line: &str| {
            line.starts_with("embed_text(text): ")
                && [" of 200,000 rows (", " rows/s, ", " tokens, ", " left"]
                    .iter()
                    .all(|part| line.contains(part))
        };
        let screen = terminal.until(|screen| screen.lines().any(is_progress));
        assert_eq!(screen.matches("embed_text(text): ").count(), 1, "{screen}");
        terminal.press(CTRL_C);
        let screen = terminal.until(|screen| screen.trim_end().ends_with("cancelled\nsemsql>"));
        assert!(!screen.contains(" rows/s"), "{screen}");
    }
    assert!(terminal.enter("SELECT 'still there' AS t;").contains("│ still there │"));
}

/// Joins of which no row is read for minutes, one of them in a statement that runs while it is planned.
#[test]
fn ctrl_c_cancels_what_does_not_pause() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    let endless = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    for sql in [
        endless.to_owned(),
        format!("CREATE TABLE t AS {endless}"),
        format!("{endless} WHERE a.value + b.value < 0"),
    ] {
        terminal.press("\x0c");
        terminal.until(|screen| screen.trim() == "semsql>");
        terminal.press(&format!("{sql};\r"));
        // under way; of the last nothing is shown, as all threads are busy
        thread::sleep(Duration::from_secs(1));
        terminal.press(CTRL_C);
        terminal.until(|screen| screen.trim_end().ends_with("cancelled\nsemsql>"));
    }
    assert!(terminal.enter("SELECT 'still there' AS t;").contains("│ still there │"));
}

#[test]
fn a_second_ctrl_c_ends_what_cannot_be_cancelled() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    // nobody reads the pipe, and the shell waits for room in it
    let status = Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap();
    assert!(status.success());
    terminal.press("\\o pipe\r");
    thread::sleep(Duration::from_millis(500));
    terminal.press(CTRL_C);
    thread::sleep(Duration::from_millis(200));
    assert!(terminal.shell.try_wait().unwrap().is_none(), "one is not enough");
    terminal.press(CTRL_C);
    assert_eq!(terminal.shell.wait().unwrap().exit_code(), 130);
}

#[test]
fn progress_is_erased_before_results_and_never_shown_with_q() {
    let folder = folder();
    let slow = "SELECT count(*) AS n FROM generate_series(1, 40000000) t(v) WHERE v < 0;";
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    terminal.press(&format!("{slow}\r"));
    terminal.until_shows("reading: ");
    let screen = terminal.until_shows("(1 row, ");
    assert!(!screen.contains("reading: ") && screen.contains("│     0 │"), "{screen}");
    let mut terminal = Terminal::start(folder.path(), &["-q"], &[]);
    terminal.enter(slow);
    assert!(!terminal.bytes().contains("reading: "));
}

#[test]
fn a_failure_is_shown_and_the_shell_goes_on() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    let screen = terminal.enter("SELECT 1; SELECT x FORM (SELECT 1 AS x);");
    assert!(screen.contains("error: statement 2: expected "), "{screen}");
    assert!(screen.contains("did you mean FROM?\n  SELECT x FORM (SELECT 1 AS x)\n           ^"), "{screen}");
    assert!(terminal.enter("\\tming").contains("error: there is no command \\tming; did you mean \\timing?"));
    assert!(terminal.enter("SELECT 5 AS five;").contains("(1 row, "));
}

#[test]
fn what_does_not_fit_the_screen_goes_to_the_pager() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &[], &[("PAGER", "cat > paged.txt; echo paged")]);
    let paged = folder.path().join("paged.txt");
    assert!(terminal.enter("SELECT 1 AS n;").contains("(1 row, "));
    assert!(!paged.exists());
    assert!(!terminal.enter("\\pset maxrows 0").contains("error"));
    assert!(terminal.enter("SELECT * FROM generate_series(1, 500);").contains("paged"));
    let text = fs::read_to_string(&paged).unwrap();
    assert!(text.contains("│   500 │") && text.contains("(500 rows, "), "{text}");
    // wide
    fs::remove_file(&paged).unwrap();
    let columns: Vec<String> = (0..20).map(|column| format!("'a long text' AS column_{column}")).collect();
    terminal.press(&format!("SELECT {};\r", columns.join(", ")));
    terminal.until(|_| paged.exists());
    terminal.enter("\\pset pager off");
    fs::remove_file(&paged).unwrap();
    assert!(terminal.enter("SELECT * FROM generate_series(1, 500);").contains("(500 rows, "));
    assert!(!paged.exists());
}

#[test]
fn tables_fit_the_terminal() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    let screen = terminal.enter("SELECT repeat('x', 200) AS a, repeat('y', 200) AS b, 1 AS c;");
    assert!(screen.contains("x… ┆ y") && screen.lines().all(|line| line.chars().count() <= 120), "{screen}");
}

#[test]
fn the_startup_file_is_run_unless_told_otherwise() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("config/semsql")).unwrap();
    let startup = "\\pset null none\nCREATE TABLE mine AS SELECT NULL AS empty;\nSELECT oops;\n";
    fs::write(folder.path().join("config/semsql/semsqlrc"), startup).unwrap();
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    assert!(
        terminal.screen().contains("semsqlrc:3:8: statement 3: there is no column oops"),
        "{}",
        terminal.screen()
    );
    assert!(terminal.enter("SELECT * FROM mine;").contains("│ none  │"));
    let mut terminal = Terminal::start(folder.path(), &["--no-rc"], &[]);
    assert!(terminal.enter("SELECT * FROM mine;").contains("table 'mine' not found"));
}

#[test]
fn pictures_are_sent_to_terminals_that_show_them() {
    let folder = folder();
    fs::copy("sql/data/photos/cat.png", folder.path().join("cat.png")).unwrap();
    let sql = "SELECT decode_image(download('cat.png')) AS image, 'text' AS t;";
    for (variable, value, sign) in [
        ("TERM", "xterm-kitty", "\x1b_Ga=T,f=100,q=2,C=1,c="),
        ("TERM_PROGRAM", "iTerm.app", "\x1b]1337;File=inline=1;size="),
    ] {
        let mut terminal = Terminal::start(folder.path(), &[], &[(variable, value)]);
        assert!(terminal.enter("\\pset images on").contains("images: on"));
        terminal.enter(sql);
        assert!(terminal.bytes().contains(sign), "{value}");
    }
    // the test is the terminal: it answers that it knows sixel, then that it does not
    let mut terminal = Terminal::start(folder.path(), &[], &[]);
    for (answer, told) in
        [("\x1b[?62;4;6c", "images: on"), ("\x1b[?62;6c", "this terminal shows no pictures")]
    {
        let asked = terminal.bytes().matches("\x1b[c").count();
        terminal.press("\\pset images on\r");
        terminal.until(|_| terminal.bytes().matches("\x1b[c").count() > asked);
        terminal.press(answer);
        terminal.until_shows(told);
        if told == "images: on" {
            terminal.enter(sql);
            assert!(terminal.bytes().contains("\x1bP0;1;0q\"1;1;"));
        }
    }
}
