//! Parts of the documents that tests and tools write, so that the documents cannot say what is not so.

use std::{env, fs, path::PathBuf};

/// A part of a document, between `<!-- NAME: ... -->` and `<!-- end of NAME -->`.
#[derive(Debug)]
pub struct Section {
    document: PathBuf,
    name: &'static str,
}

impl Section {
    /// A section of a document in `docs/`.
    #[must_use]
    pub fn of(document: &str, name: &'static str) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        Self {
            document: root.join("../docs").join(document),
            name,
        }
    }

    /// Compares the section with what it should say, or writes it if `PERIGEE_WRITE_DOCS` is set.
    ///
    /// # Panics
    ///
    /// When it says something else.
    pub fn must_say(&self, want: &str) {
        if env::var_os("PERIGEE_WRITE_DOCS").is_some() {
            self.write(want);
            return;
        }
        let (_, said, _) = self.split();
        assert!(
            said.trim() == want.trim(),
            "the section {:?} of {} does not say what was found; `make transports` writes it:\n{want}",
            self.name,
            self.document.display()
        );
    }

    /// Writes the section.
    ///
    /// # Panics
    ///
    /// When the document cannot be written.
    pub fn write(&self, text: &str) {
        let (before, _, after) = self.split();
        let whole = format!("{before}\n{}\n{after}", text.trim());
        fs::write(&self.document, whole).expect("the document can be written");
    }

    /// What is before the section, in it, and after it.
    fn split(&self) -> (String, String, String) {
        let text = fs::read_to_string(&self.document).expect("the document is there");
        let end = format!("<!-- end of {} -->", self.name);
        let parts = text
            .find(&format!("<!-- {}:", self.name))
            .and_then(|at| text[at..].find("-->\n").map(|len| at + len + 4))
            .and_then(|start| text[start..].find(&end).map(|len| (start, start + len)));
        let Some((start, end)) = parts else {
            panic!("{} has no section {:?}", self.document.display(), self.name);
        };
        (
            text[..start].to_owned(),
            text[start..end].to_owned(),
            text[end..].to_owned(),
        )
    }
}
