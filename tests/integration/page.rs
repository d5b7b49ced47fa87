//! The page of `--format html`, in a browser.

use std::fs;
use std::process::{Command, Stdio};

/// The page of a script, run where the sample photos are.
fn page(sql: &str, more: &[&str]) -> String {
    let arguments = [&["--format", "html", "-c", sql], more].concat();
    let output = Command::new(env!("CARGO_BIN_EXE_semsql")).args(arguments).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    String::from_utf8(output.stdout).unwrap()
}

/// The page as the browser has it when `script` has run in it too; `None` where there is no browser.
fn browsed(page: &str, script: &str) -> Option<String> {
    let programs = ["chromium", "chromium-browser", "google-chrome"];
    let there_is = |program: &&str| {
        let version =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    let Some(browser) = programs.into_iter().find(there_is) else {
        eprintln!("skipped: none of {programs:?} is installed");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    fs::write(&path, format!("{page}<script>addEventListener('load', () => {{ {script} }})</script>"))
        .unwrap();
    let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--dump-dom",
            &profile,
        ])
        .arg(format!("file://{}", path.display()))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_page_has_everything_in_itself() {
    let page = page(
        "SELECT path, thumbnail(decode_image(download(path)), 400) AS image, download(path) AS file, \
         arrow_cast(range(0, 384), 'FixedSizeList(384, Float32)') AS e FROM glob('sql/data/photos/*')",
        &["-c", "SELECT 2 AS second"],
    );
    assert!(page.starts_with("<!DOCTYPE html>") && page.matches("<!DOCTYPE").count() == 1);
    assert_eq!(page.matches("<table>").count(), 2);
    assert_eq!((page.matches("<img src=\"data:image/").count(), page.matches("<svg ").count()), (8, 4));
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing is loaded from elsewhere");
    assert!(page.len() < 200_000, "eight thumbnails and four vectors take {} bytes", page.len());
    let script = "const images = [...document.images];\
                  document.title = images.filter((image) => image.complete && image.naturalWidth === 160).length";
    if let Some(page) = browsed(&page, script) {
        assert!(page.contains("<title>8</title>"), "{}", &page[..2000]);
    }
}

#[test]
fn text_is_shown_and_never_run() {
    let nasty = "<script>document.title = 1</script><img src=x onerror=alert(1)>";
    let page = page(&format!("SELECT '{nasty}' AS \"<b>name</b>\", NULL AS n"), &[]);
    assert!(!page.contains(nasty) && !page.contains("<b>name"), "{page}");
    assert!(
        page.contains("<td class=\"null\">NULL</td>") && page.contains("<p class=\"count\">1 row</p>"),
        "{page}"
    );
    let script = "document.title = document.querySelector('td').textContent";
    if let Some(page) = browsed(&page, script) {
        assert!(page.contains("<title>&lt;script&gt;document.title = 1&lt;/script&gt;"), "{page}");
    }
}

#[test]
fn columns_sort_by_a_click() {
    let page = page("SELECT * FROM (VALUES (10, 'b'), (NULL, 'c'), (9, 'a')) t(n, name)", &[]);
    let script = "const column = () => [...document.querySelectorAll('tbody tr')].map((row) => row.cells[0].textContent).join();\
                  const [number, name] = document.querySelectorAll('th button');\
                  const seen = [];\
                  for (const button of [number, number, name]) { button.click(); seen.push(column()); }\
                  document.title = seen.join(';')";
    if let Some(page) = browsed(&page, script) {
        assert!(page.contains("<title>9,10,NULL;10,9,NULL;9,10,NULL</title>"), "{page}");
    }
}

#[test]
fn a_page_is_cut_as_a_table_is() {
    let page = page("SELECT * FROM generate_series(1, 3000)", &[]);
    assert_eq!(page.matches("<tr><td").count(), 1000);
    assert!(page.contains("showing 1,000 of 3,000 rows"));
}
