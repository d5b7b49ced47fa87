//! How results are shown: what `\pset` sets.

use clap::ValueEnum;

use super::arguments::{Arguments, Format};
use super::pictures::{self, Protocol};
use crate::statement::names::nearest;

/// The settings of a shell.
#[derive(Debug, Clone)]
pub struct Settings {
    /// how rows print
    pub format: Format,
    /// what NULL prints as, in tables and pages
    pub null: String,
    /// what was asked for: 0 is all rows, `None` what suits the format
    maxrows: Option<usize>,
    /// whether what does not fit the terminal is shown by a pager
    pub pager: bool,
    /// how the terminal shows thumbnails, if they are wanted
    pub pictures: Option<Protocol>,
    /// whether it is said how long a statement took
    pub timing: bool,
}

/// The names of the settings, and what each may be.
pub const NAMES: [(&str, &str); 5] = [
    ("format", "table, csv, tsv, json, ndjson or html"),
    ("images", "on or off: thumbnails in terminals that can"),
    ("maxrows", "the most rows of a result, 0 for all, or default"),
    ("null", "the text that stands for NULL"),
    ("pager", "on or off"),
];

impl Settings {
    /// Those of the command line.
    pub fn new(arguments: &Arguments, interactive: bool) -> Self {
        Self {
            format: arguments.format,
            null: "NULL".to_owned(),
            maxrows: arguments.maxrows,
            pager: true,
            pictures: None,
            timing: interactive,
        }
    }

    /// From now on all rows of a result are printed.
    pub fn show_all_rows(&mut self) {
        self.maxrows = Some(0);
    }

    /// The most rows to print of one result.
    pub fn row_limit(&self) -> usize {
        match (self.maxrows, self.format) {
            (Some(0), _) => usize::MAX,
            (Some(rows), _) => rows,
            (None, Format::Table) => 40,
            (None, Format::Html) => 1000,
            (None, _) => usize::MAX,
        }
    }

    /// Changes one; an error says what it may be.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "format" => {
                self.format = Format::from_str(value, true).map_err(|_| wrong(name, value))?;
            }
            "null" => value.clone_into(&mut self.null),
            "maxrows" if value == "default" => self.maxrows = None,
            "maxrows" => self.maxrows = Some(value.parse().map_err(|_| wrong(name, value))?),
            "pager" => self.pager = switch(name, value)?,
            "images" => {
                self.pictures = match switch(name, value)? {
                    true => Some(pictures::detect()?),
                    false => None,
                };
            }
            _ => {
                let known = NAMES.map(|(name, _)| name);
                let guess = nearest(name, known).map_or_else(
                    || format!("there are {}", known.join(", ")),
                    |known| format!("did you mean {known}?"),
                );
                return Err(format!("\\pset: there is no setting '{name}'; {guess}"));
            }
        }
        Ok(())
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<String> {
        let switch = |on| if on { "on" } else { "off" }.to_owned();
        match name {
            "format" => self.format.to_possible_value().map(|value| value.get_name().to_owned()),
            "null" => Some(self.null.clone()),
            "maxrows" => Some(self.maxrows.map_or_else(|| "default".to_owned(), |rows| rows.to_string())),
            "pager" => Some(switch(self.pager)),
            "images" => Some(switch(self.pictures.is_some())),
            _ => None,
        }
    }
}

fn wrong(name: &str, value: &str) -> String {
    let expected = NAMES.iter().find(|(known, _)| *known == name).map_or("", |(_, expected)| expected);
    format!("\\pset: {name} is {expected}, found '{value}'")
}

fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(wrong(name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &str) -> Settings {
        Settings::new(&Arguments::try_parse_from(line.split(' ')).unwrap(), false)
    }

    #[test]
    fn tables_are_cut_unless_told_otherwise() {
        assert_eq!(settings("semsql").row_limit(), 40);
        assert_eq!(settings("semsql --format html").row_limit(), 1000);
        assert_eq!(settings("semsql --format csv").row_limit(), usize::MAX);
        assert_eq!(settings("semsql --format csv --maxrows 3").row_limit(), 3);
        assert_eq!(settings("semsql --maxrows 0").row_limit(), usize::MAX);
    }

    #[test]
    fn what_is_set_is_got_and_what_is_wrong_is_told() {
        let mut settings = settings("semsql");
        for (name, value) in [("format", "csv"), ("null", "∅"), ("maxrows", "7"), ("pager", "off")] {
            settings.set(name, value).unwrap();
            assert_eq!(settings.get(name).as_deref(), Some(value));
        }
        settings.set("maxrows", "default").unwrap();
        assert_eq!(settings.row_limit(), usize::MAX);
        let wrong = |name, value| settings.clone().set(name, value).unwrap_err();
        assert_eq!(
            wrong("format", "xml"),
            "\\pset: format is table, csv, tsv, json, ndjson or html, found 'xml'"
        );
        assert_eq!(wrong("pagr", "on"), "\\pset: there is no setting 'pagr'; did you mean pager?");
    }
}
