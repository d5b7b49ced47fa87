//! The nearest of the names that there are.

#[cfg(feature = "shell")]
use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;

/// How alike two names must be for one to be offered for the other; 1 is the same.
const LIKE: f64 = 0.6;

/// The name that is most like `wrong`, if one is like it; case does not matter.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        // two letters that changed places are one mistake
        if is_swapped(&wrong, &name) { 1.0 } else { normalized_levenshtein(&wrong, &name) }
    };
    known
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= LIKE)
        // the first of those that are alike
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, name)| name)
}

/// The word that was typed with one letter wrong, missing or too much, or, rather, with two swapped; case does not
/// matter. Short words are too like each other for that.
#[cfg(feature = "shell")]
pub fn meant<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    if typed.len() < 4 {
        return None;
    }
    let find =
        |is_like: &dyn Fn(&str) -> bool| known.iter().copied().find(|name| is_like(&name.to_lowercase()));
    find(&|name| is_swapped(&typed, name)).or_else(|| find(&|name| levenshtein(&typed, name) == 1))
}

/// Whether one is the other with two neighbours swapped.
fn is_swapped(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(first) = a.iter().zip(&b).position(|(a, b)| a != b) else { return false };
    let mut swapped = a;
    if first + 1 >= swapped.len() {
        return false;
    }
    swapped.swap(first, first + 1);
    swapped == b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_offered() {
        let known = ["documents", "queries", "FROM", "form_data"];
        assert_eq!(nearest("docments", known), Some("documents"));
        assert_eq!(nearest("Queries", known), Some("queries"));
        assert_eq!(nearest("form", known), Some("FROM"));
        assert_eq!(nearest("xyz", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(meant("form", &["FOR", "FROM"]), Some("FROM"));
        assert_eq!(meant("SELCT", &["SELECT"]), Some("SELECT"));
        assert_eq!(meant("fro", &["FROM"]), None);
    }
}
