//! What a string in SQL names: a local file, a URL, a file in a store or at the hub.
use std::path::PathBuf;

use object_store::path::Path as ObjectPath;
use url::Url;

use super::hub::HubPath;
use crate::error::{Result, data_err, query_err};

/// Where a file is. A pattern of files is one too: nothing in here is interpreted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Local(PathBuf),
    /// Over http or https.
    Web(Url),
    Hub(HubPath),
    /// In the store of this URL, which has no path; the key is as it is written.
    Store(Url, String),
}

impl Location {
    /// Reads a path or a URL. Keys of stores and paths at the hub are taken as they are written, as the tools of these
    /// stores do: `s3://bucket/a b%20c` has the key `a b%20c`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Local(PathBuf::from(text)));
        };
        match scheme.to_ascii_lowercase().as_str() {
            // such a URL has no query: a question mark is a part of a pattern
            "file" => {
                match Url::parse(&text.replace('?', "%3F")).ok().and_then(|url| url.to_file_path().ok()) {
                    Some(path) => Ok(Self::Local(path)),
                    None => data_err!("'{text}' is not the URL of a local file: write file:///absolute/path"),
                }
            }
            // the rest of a wrong URL may hold secrets
            "http" | "https" => match Url::parse(text) {
                Ok(url) => Ok(Self::Web(url)),
                Err(error) => {
                    data_err!("cannot read this '{scheme}://' location: it is not a valid URL, {error}")
                }
            },
            "hf" => Ok(Self::Hub(HubPath::parse(rest)?)),
            // a store that this build opens, or one that is registered
            scheme => {
                let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
                match Url::parse(&format!("{scheme}://{name}")) {
                    Ok(url) if !name.is_empty() && !name.contains(['@', '?', '#']) => {
                        Ok(Self::Store(url, key.to_owned()))
                    }
                    _ => data_err!("cannot reach this '{scheme}://' location: write {scheme}://NAME/path"),
                }
            }
        }
    }

    /// The URL under which DataFusion knows what is not local: escaped, as its paths are unescaped.
    pub(super) fn to_url(&self) -> Result<Url> {
        let (mut url, key) = match self {
            Self::Local(path) => return query_err!("'{}' is not a URL", path.display()),
            Self::Web(url) => return Ok(url.clone()),
            Self::Hub(file) => (file.root()?, file.key()),
            Self::Store(url, key) => (url.clone(), key.clone()),
        };
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(key.split('/'));
        }
        Ok(url)
    }
}

/// The key as the store's own type, which allows no empty parts, no `.` and no `..`.
pub(super) fn object_path(key: &str) -> Result<ObjectPath> {
    match ObjectPath::parse(key) {
        Ok(path) => Ok(path),
        Err(error) => data_err!("'{key}' is not a path in a store: {error}"),
    }
}

/// A URL without user, password, query and fragment.
pub(super) fn without_secrets(url: &Url) -> String {
    format!(
        "{}://{}{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.port().map(|port| format!(":{port}")).unwrap_or_default(),
        url.path()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let url = Url::parse("https://user:password@example.com:8443/a/b.png?signature=secret#part").unwrap();
        assert_eq!(without_secrets(&url), "https://example.com:8443/a/b.png");
        let error = Location::parse("https://user:SECRET@ho st/x?sig=SECRET").unwrap_err().to_string();
        assert!(!error.contains("SECRET"), "{error}");
    }

    #[test]
    fn locations_are_told_apart() {
        let store = |text: &str, key: &str| Location::Store(Url::parse(text).unwrap(), key.to_owned());
        for (text, expected) in [
            ("a/b.png", Location::Local("a/b.png".into())),
            ("file:///a%20b", Location::Local("/a b".into())),
            ("s3://photos/a b%20c#1?.png", store("s3://photos", "a b%20c#1?.png")),
            ("GS://photos", store("gs://photos", "")),
            ("https://host/a?b", Location::Web(Url::parse("https://host/a?b").unwrap())),
        ] {
            assert_eq!(Location::parse(text).unwrap(), expected);
        }
        for text in
            ["s3:///key", "s3://user@bucket/key", "ftp://user:SECRET@host/x", "file://host/x", "http://"]
        {
            let error = Location::parse(text).unwrap_err().to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
