//! README.md and sql/ say what really happens.
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a script in the root of the project and returns what it prints.
fn run(script: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_semsql"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}\n(the models of `make setup` are needed)\n{script}");
    String::from_utf8(output.stdout).unwrap()
}

/// A bar of a sparkline may be one step higher on another processor.
fn without_heights(text: &str) -> String {
    let bar = |letter: char| if ('▁'..='█').contains(&letter) { '▄' } else { letter };
    text.trim().chars().map(bar).collect()
}

/// The fenced blocks of a language, in their order, each with what follows it.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(&'a str, &'a str)> {
    let fence = format!("```{language}\n");
    let starts = text.match_indices(&fence).map(|(at, _)| at + fence.len());
    starts
        .map(|start| {
            let end = start + text[start..].find("```").unwrap();
            (&text[start..end], text[end + 3..].trim_start())
        })
        .collect()
}

#[test]
fn the_readme_prints_what_it_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let blocks = blocks(&readme, "sql");
    assert!(blocks.len() >= 4);
    for (sql, rest) in blocks {
        let shown = rest.strip_prefix("```text\n").and_then(|rest| rest.split("```").next());
        let printed = run(sql);
        let shown = shown.unwrap_or_else(|| panic!("nothing is shown behind\n{sql}which prints\n{printed}"));
        assert_eq!(without_heights(&printed), without_heights(shown), "README.md:\n{sql}\nprints\n{printed}");
    }
}

#[test]
fn the_sql_files_print_what_they_show() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    assert!(files.len() >= 4);
    for file in files {
        let script = std::fs::read_to_string(&file).unwrap();
        let shown = script.lines().filter_map(|line| line.strip_prefix("-- "));
        let shown: Vec<&str> = shown.filter(|line| line.starts_with(['╭', '│', '╞', '╰', '('])).collect();
        let printed = run(&script);
        assert_eq!(
            without_heights(&printed),
            without_heights(&shown.join("\n")),
            "{}:\n{printed}",
            file.display()
        );
    }
}
