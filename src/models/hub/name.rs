//! What a model is called: `[OWNER/]NAME[@REVISION][@VARIANT]`.
use std::fmt;

/// Variants of graphs as the hub's repositories call them. Another word behind `@` is a revision, unless the model has a
/// variant of that name.
const VARIANTS: [&str; 8] = ["fp32", "fp16", "int8", "uint8", "q4", "q4f16", "bnb4", "quantized"];

/// The owner of models that are named without one, as in the library sentence-transformers.
const DEFAULT_OWNER: &str = "sentence-transformers";

/// The name of a model that is no path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelName {
    /// `OWNER/NAME`, or `NAME`.
    pub(crate) name: String,
    /// A branch, a tag or a commit.
    pub(crate) revision: Option<String>,
    /// Which of the model's graphs.
    pub(crate) variant: Option<String>,
}

impl ModelName {
    /// `is_variant` says whether the model of that name has a variant; `None` where the text is no name: it is empty, or
    /// would lead out of the folder of all models.
    pub(crate) fn parse(text: &str, is_variant: impl Fn(&str, &str) -> bool) -> Option<Self> {
        let mut parts = text.split('@');
        let name = parts.next()?;
        let (first, second) = (parts.next(), parts.next());
        let is_plain = |part: &str| part.split('/').all(is_plain_part);
        let complete = is_plain(name) && name.split('/').count() <= 2 && parts.next().is_none();
        if !complete || !first.into_iter().chain(second).all(is_plain) {
            return None;
        }
        let (revision, variant) = match (first, second) {
            (Some(word), None) if is_known_variant(word) || is_variant(name, word) => (None, Some(word)),
            (revision, variant) => (revision, variant),
        };
        if variant.is_some_and(|variant| variant.contains('/')) {
            return None;
        }
        let owned = |part: Option<&str>| part.map(ToOwned::to_owned);
        Some(Self { name: name.to_owned(), revision: owned(revision), variant: owned(variant) })
    }

    /// The repository of the hub that has it: `OWNER/NAME`.
    pub(crate) fn repository(&self) -> String {
        match self.name.contains('/') {
            true => self.name.clone(),
            false => format!("{DEFAULT_OWNER}/{}", self.name),
        }
    }

    /// Whether a repository of the hub can be called so.
    pub(crate) fn may_be_of_hub(&self) -> bool {
        let letter =
            |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'/' | b'-' | b'_' | b'.');
        self.name.bytes().all(letter)
    }

    /// Its folder below the folder of all models: `OWNER/NAME[@REVISION]`.
    pub(crate) fn folder(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{}@{}", self.name, revision.replace('/', "%2F")),
            None => self.name.clone(),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for part in self.revision.iter().chain(&self.variant) {
            write!(f, "@{part}")?;
        }
        Ok(())
    }
}

/// Part of a path that stays below the folder before it, on every system.
pub(super) fn is_plain_part(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']) && !part.starts_with('~')
}

fn is_known_variant(word: &str) -> bool {
    let of_level = word.strip_prefix('O').is_some_and(|level| matches!(level, "1" | "2" | "3" | "4"));
    VARIANTS.contains(&word) || of_level || word.starts_with("qint8") || word.starts_with("quint8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, Option<String>, Option<String>)> {
        let name = ModelName::parse(text, |name, word| (name, word) == ("o/n", "mine"))?;
        Some((name.name, name.revision, name.variant))
    }

    #[test]
    fn names_revisions_and_variants() {
        for (text, name, revision, variant) in [
            ("n", "n", None, None),
            ("o/n", "o/n", None, None),
            ("o/n@int8", "o/n", None, Some("int8")),
            ("o/n@O3", "o/n", None, Some("O3")),
            ("o/n@qint8_avx512", "o/n", None, Some("qint8_avx512")),
            ("o/n@mine", "o/n", None, Some("mine")),
            ("o/other@mine", "o/other", Some("mine"), None),
            ("o/n@v1.5", "o/n", Some("v1.5"), None),
            ("o/n@refs/pr/3", "o/n", Some("refs/pr/3"), None),
            ("o/n@int8@fp32", "o/n", Some("int8"), Some("fp32")),
        ] {
            let owned = |part: Option<&str>| part.map(str::to_owned);
            assert_eq!(parse(text), Some((name.to_owned(), owned(revision), owned(variant))), "{text}");
        }
        for text in [
            "",
            "o/",
            "/n",
            "o/../n",
            "..",
            "o/n/x",
            "o/n@",
            "o/n@../../x",
            "o/n@a@b@c",
            "o\\n",
            "~/n",
            "o/n@x@../y",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_without_owner_is_one_of_sentence_transformers_at_the_hub() {
        let name = |text| ModelName::parse(text, |_, _| false).unwrap();
        assert_eq!(name("all-MiniLM-L6-v2").repository(), "sentence-transformers/all-MiniLM-L6-v2");
        assert_eq!(name("BAAI/bge@refs/pr/3").repository(), "BAAI/bge");
        assert_eq!(name("BAAI/bge@refs/pr/3").folder(), "BAAI/bge@refs%2Fpr%2F3");
        assert_eq!(name("BAAI/bge@v1@int8").to_string(), "BAAI/bge@v1@int8");
        assert!(name("BAAI/bge-small-en-v1.5").may_be_of_hub() && !name("no such model").may_be_of_hub());
    }
}
