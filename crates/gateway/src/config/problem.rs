//! What is wrong with a configuration, where, and what to do about it.
//!
//! Knows lines and keys; knows no key by name.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::policy::{Malformed, quote};

/// One mistake in a configuration file. Prints as `file:line: key: problem; remedy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as it was given.
    pub file: Arc<str>,
    /// Counted from 1; `None` when it is about the file as a whole.
    pub line: Option<usize>,
    /// Dotted, rules counted from 1 (`allow[2].origins`); `None` when it is about no key.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}; {}", self.problem, self.remedy)
    }
}

/// All mistakes of a configuration, in the order of the file. Prints one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let newline = if i > 0 { "\n" } else { "" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Counted from 1.
    pub(super) line: usize,
    /// Dotted; empty for the document itself.
    pub(super) key: String,
}

impl Place {
    /// The place of a key of this table that is not there.
    pub(super) fn missing(&self, key: &str) -> Self {
        Self {
            line: self.line,
            key: join(&self.key, key),
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

/// Appends a key to a path, quoted where TOML would want quotes.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let key = if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        quote(key)
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// The collector that every step of reading reports to, so that one mistake does not hide the next.
#[derive(Debug)]
pub(super) struct Problems {
    file: Arc<str>,
    /// Byte offsets at which lines start.
    line_starts: Vec<usize>,
    found: Vec<Found>,
    warnings: Vec<Problem>,
    /// Lines that are not TOML.
    broken_lines: BTreeSet<usize>,
    /// Whether a broken line leaves open which table the keys after it belong to.
    structure_is_lost: bool,
}

#[derive(Debug)]
struct Found {
    problem: Problem,
    basis: Basis,
}

/// What a problem is drawn from, and so what may turn out to be its real cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// Something that is there.
    Present,
    /// A key that is not there, or could not be read.
    NoKey,
    /// A name that nothing in the file bears, as far as it could be read.
    NoBearer,
}

impl Problems {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        Self {
            file: file.into(),
            line_starts: std::iter::once(0)
                .chain(newlines.map(|(at, _)| at + 1))
                .collect(),
            found: Vec::new(),
            warnings: Vec::new(),
            broken_lines: BTreeSet::new(),
            structure_is_lost: false,
        }
    }

    /// The line, counted from 1, that holds a byte of the text.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }

    /// Reports a line that is not TOML; further ones of the same line are its echo and dropped.
    pub(super) fn syntax(&mut self, line: usize, problem: String, remedy: String) {
        if self.broken_lines.insert(line) {
            let place = Place {
                line,
                key: SYNTAX.to_owned(),
            };
            let problem = self.problem(&place, problem, remedy);
            self.found.push(Found {
                problem,
                basis: Basis::Present,
            });
        }
    }

    /// Says that keys may stand in other tables than they seem to: only what is not TOML is then worth telling.
    pub(super) fn lose_structure(&mut self) {
        self.structure_is_lost = true;
    }

    /// Reports what is wrong with something that is there.
    pub(super) fn report(
        &mut self,
        place: &Place,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let problem = self.problem(place, problem.into(), remedy.into());
        self.found.push(Found {
            problem,
            basis: Basis::Present,
        });
    }

    /// Reports that a key is not there.
    pub(super) fn missing(
        &mut self,
        place: &Place,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let problem = self.problem(place, problem.into(), remedy.into());
        self.found.push(Found {
            problem,
            basis: Basis::NoKey,
        });
    }

    /// Reports a name that nothing bears.
    pub(super) fn unknown_name(&mut self, at: &At<String>, problem: &str, remedy: String) {
        let problem = format!("{} {problem}", quote(&at.value));
        let problem = self.problem(&at.place, problem, remedy);
        self.found.push(Found {
            problem,
            basis: Basis::NoBearer,
        });
    }

    /// Reports a value that does not parse.
    pub(super) fn malformed(&mut self, at: &At<String>, why: &Malformed) {
        self.report(
            &at.place,
            format!("{} {}", quote(&at.value), why.problem),
            why.remedy.clone(),
        );
    }

    /// Notes something that works but is hardly meant.
    pub(super) fn warn(
        &mut self,
        place: &Place,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let problem = self.problem(place, problem.into(), remedy.into());
        self.warnings.push(problem);
    }

    /// The warnings, or all problems, each in the order of the file.
    pub(super) fn finish(self) -> Result<Vec<Problem>, ConfigErrors> {
        let Self {
            found,
            mut warnings,
            broken_lines,
            structure_is_lost,
            ..
        } = self;
        // A key that is there but of a wrong type is not missing as well.
        let present = found.iter().filter(|found| found.basis == Basis::Present);
        let wrong_keys: Vec<String> = present
            .filter_map(|found| found.problem.key.clone())
            .collect();
        let explains = |wrong: &String, key: &str| {
            let rest = wrong.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let is_echo = |Found { problem, basis }: &Found| {
            let key = problem.key.as_deref().unwrap_or_default();
            let is_broken = problem
                .line
                .is_some_and(|line| broken_lines.contains(&line));
            match basis {
                _ if key == SYNTAX => false,
                _ if structure_is_lost || is_broken => true,
                Basis::Present => false,
                Basis::NoKey => {
                    !broken_lines.is_empty() || wrong_keys.iter().any(|wrong| explains(wrong, key))
                }
                Basis::NoBearer => !broken_lines.is_empty(),
            }
        };
        let mut errors: Vec<Problem> = found
            .into_iter()
            .filter(|found| !is_echo(found))
            .map(|found| found.problem)
            .collect();
        errors.sort_by_key(|problem| problem.line);
        warnings.sort_by_key(|problem| problem.line);
        if errors.is_empty() {
            Ok(warnings)
        } else {
            Err(ConfigErrors(errors))
        }
    }

    fn problem(&self, place: &Place, problem: String, remedy: String) -> Problem {
        Problem {
            file: Arc::clone(&self.file),
            line: Some(place.line),
            key: (!place.key.is_empty()).then(|| place.key.clone()),
            problem,
            remedy,
        }
    }
}

/// The key of what is not TOML. No table has a key of this name.
const SYNTAX: &str = "syntax";
