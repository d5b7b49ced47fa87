//! `upload` to local files.
use std::fs;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion_semantic::session;

async fn query(sql: &str) -> Result<String, String> {
    let ctx = session::new().unwrap();
    let frame = session::sql(&ctx, sql).await.map_err(|error| error.to_string())?;
    let batches = frame.collect().await.map_err(|error| error.to_string())?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

#[tokio::test]
async fn files_are_written_with_their_folders_and_not_replaced_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/a b#?.txt");
    let location = path.display().to_string();
    let upload = |text: &str, more: &str| {
        format!("SELECT upload(arrow_cast('{text}', 'Binary'), '{location}'{more}) AS at")
    };
    assert!(query(&upload("first", "")).await.unwrap().contains(&location));
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");

    let error = query(&upload("second", "")).await.unwrap_err();
    let expected = format!(
        "upload: cannot write '{location}': there is a file of this name already; overwrite => true replaces it"
    );
    assert!(error.contains(&expected), "{error}");
    assert!(query(&upload("second", ", on_error => 'null'")).await.unwrap().contains("|    |"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");

    query(&upload("third", ", overwrite => true")).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "third");
    // nothing else is left behind
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    assert_eq!(
        query(&format!("SELECT arrow_cast(download('{location}'), 'Utf8') AS t"))
            .await
            .unwrap()
            .matches("third")
            .count(),
        1
    );
}

#[tokio::test]
async fn rows_are_written_each_to_its_place_and_null_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display();
    let sql = format!(
        "SELECT count(upload(arrow_cast(text, 'Binary'), '{root}/' || name)) AS written \
         FROM (VALUES ('a', '1'), ('b', '2'), (NULL, '3'), ('d', NULL)) AS t(text, name)"
    );
    assert!(query(&sql).await.unwrap().contains("| 2       |"));
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["1", "2"]);
}

#[tokio::test]
async fn what_cannot_be_written_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display().to_string();
    fs::write(folder.path().join("file"), "x").unwrap();
    for (call, expected) in [
        (format!("x'61', '{root}'"), "it is a folder, name a file in it".to_owned()),
        (format!("x'61', '{root}/file/below'"), format!("upload: cannot write '{root}/file/below': ")),
        (
            "x'61', 'https://user:SECRET@example.com/a?k=SECRET'".to_owned(),
            "cannot write 'https://example.com/a': http(s) can only be read".to_owned(),
        ),
        ("x'61', 'hf://datasets/x/y/a'".to_owned(), "the hub can only be read".to_owned()),
        (
            "'text', 'a'".to_owned(),
            "upload: bytes must be binary, found Utf8; write text with arrow_cast(text, 'Binary')".to_owned(),
        ),
        (
            "x'61', 'a', 1".to_owned(),
            "upload: overwrite must be true or false, found 1 of type Int64".to_owned(),
        ),
    ] {
        let error = query(&format!("SELECT upload({call})")).await.unwrap_err();
        assert!(error.contains(&expected) && !error.contains("SECRET"), "{call}: {error}");
    }
}

#[tokio::test]
async fn a_location_may_go_up_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    let location = folder.path().join("in/../copies/a.txt").display().to_string();
    assert!(query(&format!("SELECT upload(x'61', '{location}') AS at")).await.unwrap().contains(&location));
    assert_eq!(fs::read_to_string(folder.path().join("copies/a.txt")).unwrap(), "a");
}
