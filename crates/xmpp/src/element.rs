//! What is seen of an element: its name, its attributes, and its bytes.

use bytes::Bytes;

use crate::{encode::put_attribute, ns};

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The stream header: the start tag of the outermost element.
    Open(StreamHeader),
    /// A child of it: a stanza, features, an error, or an element of a negotiation.
    Stanza(Stanza),
    /// The outermost element was closed.
    Close,
}

/// The name of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The namespace, empty if there is none.
    pub namespace: String,
    /// The name without its prefix.
    pub local: String,
}

impl Name {
    /// Whether it is this name.
    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.namespace == namespace && self.local == local
    }
}

/// The attributes of an element, without namespace declarations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub(crate) Vec<(Name, String)>);

impl Attributes {
    /// The value of an attribute that has no namespace.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_ns("", name)
    }

    /// The value of an attribute of a namespace.
    pub fn get_ns(&self, namespace: &str, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(attribute, _)| attribute.is(namespace, name))
            .map(|(_, value)| value.as_str())
    }
}

/// A namespace declaration: the prefix, or `None` for the default, and the namespace.
pub(crate) type Declaration = (Option<String>, String);

/// The start tag of the outermost element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    /// Its name.
    pub name: Name,
    /// Its attributes.
    pub attributes: Attributes,
    pub(crate) declarations: Vec<Declaration>,
}

/// One child of the outermost element, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    /// Its name.
    pub name: Name,
    /// Its attributes.
    pub attributes: Attributes,
    /// As it came.
    pub bytes: Bytes,
    /// Its own children that are elements.
    pub children: Vec<Child>,
    /// Bytes of `<` and the name with its prefix, behind which attributes begin.
    pub(crate) name_end: usize,
    /// Prefixes that its own start tag declares.
    pub(crate) declarations: Vec<Declaration>,
}

/// A child of a stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name.
    pub name: Name,
    /// Where it is in the bytes of the stanza.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Stanza {
    /// Whether it has a child of that name.
    pub fn has_child(&self, namespace: &str, local: &str) -> bool {
        self.children
            .iter()
            .any(|child| child.name.is(namespace, local))
    }

    /// The same without the children of that name.
    #[must_use]
    pub fn without_child(&self, namespace: &str, local: &str) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut children = Vec::with_capacity(self.children.len());
        let mut at = 0;
        for child in &self.children {
            bytes.extend_from_slice(&self.bytes[at..child.start]);
            at = child.end;
            if child.name.is(namespace, local) {
                continue;
            }
            let start = bytes.len();
            bytes.extend_from_slice(&self.bytes[child.start..child.end]);
            children.push(Child {
                name: child.name.clone(),
                start,
                end: bytes.len(),
            });
        }
        bytes.extend_from_slice(&self.bytes[at..]);
        Self {
            bytes: Bytes::from(bytes),
            children,
            ..self.clone()
        }
    }

    /// Its bytes with what `header` declares and it uses: outside of the stream it means the same as inside.
    pub fn standalone(&self, header: &StreamHeader) -> Bytes {
        self.with_declarations(header.declarations.iter().filter(|(prefix, _)| {
            // Where a prefix may be used it is declared; declaring one too many does no harm.
            prefix.as_ref().is_none_or(|prefix| self.mentions(prefix))
        }))
    }

    /// Its bytes for a stream whose default namespace is [`ns::CLIENT`], if they came from a BOSH body.
    ///
    /// Children that declare no namespace of their own are taken for stanzas, as many clients leave it out.
    pub(crate) fn out_of_body(&self, body: &StreamHeader) -> Bytes {
        let client = (None, ns::CLIENT.to_owned());
        let others = body
            .declarations
            .iter()
            .filter(|(prefix, _)| prefix.as_ref().is_some_and(|prefix| self.mentions(prefix)));
        self.with_declarations(std::iter::once(&client).chain(others))
    }

    fn with_declarations<'a>(&self, declarations: impl Iterator<Item = &'a Declaration>) -> Bytes {
        let mut added = Vec::new();
        for (prefix, namespace) in declarations {
            if self.declarations.iter().any(|(own, _)| own == prefix) {
                continue;
            }
            match prefix {
                None => put_attribute("xmlns", namespace, &mut added),
                Some(prefix) => put_attribute(&format!("xmlns:{prefix}"), namespace, &mut added),
            }
        }
        if added.is_empty() {
            return self.bytes.clone();
        }
        let (start, rest) = self.bytes.split_at(self.name_end);
        Bytes::from([start, &added, rest].concat())
    }

    fn mentions(&self, prefix: &str) -> bool {
        let used = format!("{prefix}:");
        self.bytes
            .windows(used.len())
            .any(|window| window == used.as_bytes())
    }
}
