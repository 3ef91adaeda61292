//! From TOML to shapes: types, unknown keys and lines, with every mistake reported and none fatal.
//!
//! The `toml` crate's serde layer stops at the first error, so its recovering parser is used and the document is read by hand.
//! Knows no key by name; [`super::file`] lists them through [`shape!`].

use std::time::Duration;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    problem::{At, Place, Problems, join},
    suggest::nearest,
    units::{parse_duration, parse_percent, parse_size},
};
use crate::policy::{Malformed, quote};

/// Parses a text as TOML, reporting every line that is not.
pub(super) fn parse<'a>(text: &'a str, problems: &mut Problems) -> DeTable<'a> {
    let (document, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    for error in errors {
        let span = error.span().unwrap_or_default();
        let number = problems.line(span.start);
        let line = text.lines().nth(number - 1).unwrap_or_default().trim();
        if error.message().contains("array element") && begins_something(line) {
            // What follows was read as items: none of it can be judged.
            let remedy = "write ] after its last item";
            problems.syntax(number, "the list above is not closed".into(), remedy.into());
            problems.lose_structure();
            break;
        }
        if line.starts_with('[') {
            problems.lose_structure();
        }
        let found = text.get(span).unwrap_or_default();
        let (problem, remedy) = syntax_problem(error.message(), found);
        problems.syntax(number, problem, remedy);
    }
    document.into_inner()
}

/// Whether a line is a `key = value` or a table's header, and so hardly an item of a list.
fn begins_something(line: &str) -> bool {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_. \"".contains(c);
    let is_assignment = line
        .split_once('=')
        .is_some_and(|(key, _)| key.chars().all(bare));
    is_assignment || line.starts_with('[')
}

/// Says in an operator's words what the parser found at `found`.
fn syntax_problem(message: &str, found: &str) -> (String, String) {
    let (what, expected) = match message.split_once(", expected ") {
        Some((what, expected)) => (what, Some(expected)),
        None => (message, None),
    };
    match (what, expected) {
        ("string values must be quoted", _) if found.is_empty() => (
            "there is no value after =".into(),
            "write one, or remove the line".into(),
        ),
        ("string values must be quoted", _) => (
            format!("{} is not a value", found.escape_debug()),
            format!("write text in quotes: {}", quote(found)),
        ),
        ("duplicate key", _) => (
            format!("{} is set twice", quote(found)),
            "keep one of the two".into(),
        ),
        (what, Some("nothing")) => (what.into(), "remove it".into()),
        (what, Some(expected)) => (what.into(), format!("write {expected} there")),
        (what, None) => (
            what.into(),
            "write it as TOML wants it (https://toml.io)".into(),
        ),
    }
}

/// Something that a key of a table may hold.
pub(super) trait Read: Sized {
    fn read(value: &Spanned<DeValue<'_>>, place: Place, problems: &mut Problems) -> Option<Self>;
}

/// A value without parts.
pub(super) trait Scalar: Sized {
    fn scalar(value: &DeValue<'_>) -> Result<Self, Malformed>;
}

impl<T: Scalar> Read for At<T> {
    fn read(value: &Spanned<DeValue<'_>>, place: Place, problems: &mut Problems) -> Option<Self> {
        match T::scalar(value.get_ref()) {
            Ok(value) => Some(Self { place, value }),
            Err(why) => {
                problems.report(&place, why.problem, why.remedy);
                None
            }
        }
    }
}

/// An array of values, each with its own line.
#[derive(Debug)]
pub(super) struct List<T> {
    pub(super) place: Place,
    /// Whether nothing is written in it; items that cannot be read are missing from `items`.
    pub(super) is_empty: bool,
    pub(super) items: Vec<At<T>>,
}

impl<T: Scalar> Read for List<T> {
    fn read(value: &Spanned<DeValue<'_>>, place: Place, problems: &mut Problems) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            let shown = show(value.get_ref());
            problems.report(
                &place,
                format!("{shown} is not a list"),
                format!("write [{shown}]"),
            );
            return None;
        };
        let items = array.iter().filter_map(|item| {
            let place = Place {
                line: problems.line(item.span().start),
                key: place.key.clone(),
            };
            At::read(item, place, problems)
        });
        Some(Self {
            is_empty: array.is_empty(),
            items: items.collect(),
            place,
        })
    }
}

/// A table, and where it stands.
#[derive(Debug)]
pub(super) struct Table<S>(At<S>);

impl<S> Table<S> {
    pub(super) fn place(&self) -> &Place {
        &self.0.place
    }

    pub(super) fn shape(&self) -> &S {
        &self.0.value
    }
}

impl<S: Read> Read for Table<S> {
    fn read(value: &Spanned<DeValue<'_>>, place: Place, problems: &mut Problems) -> Option<Self> {
        let value = S::read(value, place.clone(), problems)?;
        Some(Self(At { place, value }))
    }
}

/// `[[name]]`, any number of times.
#[derive(Debug)]
pub(super) struct Tables<S>(pub(super) Vec<At<S>>);

impl<S: Read> Read for Tables<S> {
    fn read(value: &Spanned<DeValue<'_>>, place: Place, problems: &mut Problems) -> Option<Self> {
        let key = &place.key;
        let Some(array) = value.get_ref().as_array() else {
            problems.report(
                &place,
                "is not a list of tables",
                format!("write [[{key}]] with two brackets"),
            );
            return None;
        };
        let tables = array.iter().enumerate().filter_map(|(i, item)| {
            let line = problems.line(item.span().start);
            let place = Place {
                line,
                key: format!("{key}[{}]", i + 1),
            };
            let value = S::read(item, place.clone(), problems)?;
            Some(At { place, value })
        });
        Some(Self(tables.collect()))
    }
}

/// `[name.KEY]`, for any KEY.
#[derive(Debug)]
pub(super) struct Named<S>(pub(super) Vec<(At<String>, S)>);

impl<S: Read> Read for Named<S> {
    fn read(value: &Spanned<DeValue<'_>>, place: Place, problems: &mut Problems) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            let remedy = format!("write [{}.NAME] with one pair of brackets", place.key);
            problems.report(&place, "is not a table of tables", remedy);
            return None;
        };
        let outer = &place.key;
        let tables = table.iter().filter_map(|(name, value)| {
            let key = join(outer, name.get_ref());
            let place = Place {
                line: problems.line(name.span().start),
                key,
            };
            if !value.get_ref().is_table() {
                problems.report(
                    &place,
                    "stands where a name is due",
                    format!("write [{outer}.NAME] above it"),
                );
                return None;
            }
            let name = At {
                place: place.clone(),
                value: name.get_ref().to_string(),
            };
            S::read(value, place, problems).map(|shape| (name, shape))
        });
        Some(Self(tables.collect()))
    }
}

impl Scalar for String {
    fn scalar(value: &DeValue<'_>) -> Result<Self, Malformed> {
        let wrong = || {
            let shown = show(value);
            let remedy = if shown.starts_with('"') {
                "write text in quotes".into()
            } else {
                format!("write \"{shown}\"")
            };
            Malformed::new(format!("{shown} is not text"), remedy)
        };
        value.as_str().map(str::to_owned).ok_or_else(wrong)
    }
}

impl Scalar for bool {
    fn scalar(value: &DeValue<'_>) -> Result<Self, Malformed> {
        let wrong = || {
            Malformed::new(
                format!("{} is neither true nor false", show(value)),
                "write true or false, without quotes",
            )
        };
        value.as_bool().ok_or_else(wrong)
    }
}

impl Scalar for u64 {
    fn scalar(value: &DeValue<'_>) -> Result<Self, Malformed> {
        let number = value
            .as_integer()
            .and_then(|number| Self::from_str_radix(number.as_str(), number.radix()).ok());
        number.ok_or_else(|| {
            Malformed::new(
                format!("{} is not a whole number", show(value)),
                "write digits, without quotes",
            )
        })
    }
}

impl Scalar for Duration {
    fn scalar(value: &DeValue<'_>) -> Result<Self, Malformed> {
        with_unit(value, "a duration", "s", parse_duration)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size(pub(super) u64);

impl Scalar for Size {
    fn scalar(value: &DeValue<'_>) -> Result<Self, Malformed> {
        with_unit(value, "a size", "B", |text| parse_size(text).map(Self))
    }
}

/// A number of bytes, or a part of the machine's memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Memory {
    Size(u64),
    Percent(u64),
}

impl Scalar for Memory {
    fn scalar(value: &DeValue<'_>) -> Result<Self, Malformed> {
        with_unit(value, "a size", "B", |text| match parse_percent(text) {
            Some(percent) => Ok(Self::Percent(percent)),
            None => parse_size(text).map(Self::Size),
        })
    }
}

fn with_unit<T>(
    value: &DeValue<'_>,
    what: &str,
    unit: &str,
    parse: impl Fn(&str) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    if let Some(text) = value.as_str() {
        return parse(text)
            .map_err(|why| Malformed::new(format!("{} {}", quote(text), why.problem), why.remedy));
    }
    let shown = show(value);
    Err(match value {
        DeValue::Integer(_) => Malformed::new(
            format!("{shown} has no unit"),
            format!("write \"{shown}{unit}\""),
        ),
        _ => Malformed::new(
            format!("{shown} is not {what}"),
            format!("write a whole number and its unit in quotes, such as \"1{unit}\""),
        ),
    })
}

/// Quotes a value of any type.
fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quote(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The keys of one table, taken one by one.
pub(super) struct Keys<'a, 'i> {
    table: &'a DeTable<'i>,
    path: String,
}

impl<'a, 'i> Keys<'a, 'i> {
    pub(super) fn new(table: &'a DeTable<'i>, path: &str) -> Self {
        Self {
            table,
            path: path.to_owned(),
        }
    }

    /// Reads a key, if the table has it.
    pub(super) fn take<T: Read>(&self, key: &str, problems: &mut Problems) -> Option<T> {
        let (name, value) = self.table.get_key_value(key)?;
        let line = problems.line(name.span().start);
        T::read(
            value,
            Place {
                line,
                key: join(&self.path, key),
            },
            problems,
        )
    }

    /// Reports what the table has beyond its known keys.
    pub(super) fn report_unknown(
        &self,
        known: &[&str],
        elsewhere: &[(&str, &[&str])],
        problems: &mut Problems,
    ) {
        for name in self.table.keys() {
            let key = &**name.get_ref();
            if known.contains(&key) {
                continue;
            }
            let home = elsewhere.iter().find(|(_, keys)| keys.contains(&key));
            let remedy = match (nearest(key, known.iter().copied()), home) {
                (Some(meant), _) => format!("did you mean {meant:?}?"),
                (None, Some((home, _))) => format!("it belongs into {home}"),
                (None, None) => format!("known here are {}", known.join(", ")),
            };
            let place = Place {
                line: problems.line(name.span().start),
                key: join(&self.path, key),
            };
            problems.report(&place, "unknown key", remedy);
        }
    }
}

/// Declares the shape of a table: a struct with an `Option` per key, the list of its keys, and how to read it.
macro_rules! shape {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $key: Option<$type>,)+
        }

        impl $name {
            /// All keys, in the order of the reference.
            pub(super) const KEYS: &[&str] = &[$(stringify!($key)),+];

            /// Reads the keys of a table.
            pub(super) fn from_table(
                table: &toml::de::DeTable<'_>,
                path: &str,
                problems: &mut $crate::config::problem::Problems,
            ) -> Self {
                let keys = $crate::config::document::Keys::new(table, path);
                let shape = Self {
                    $($key: keys.take(stringify!($key), problems),)+
                };
                keys.report_unknown(Self::KEYS, $crate::config::file::TABLES, problems);
                shape
            }
        }

        impl $crate::config::document::Read for $name {
            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                place: $crate::config::problem::Place,
                problems: &mut $crate::config::problem::Problems,
            ) -> Option<Self> {
                match value.get_ref().as_table() {
                    Some(table) => Some(Self::from_table(table, &place.key, problems)),
                    None => {
                        problems.report(&place, "is not a table", format!("write [{}] above its keys", place.key));
                        None
                    }
                }
            }
        }
    };
}
pub(super) use shape;
