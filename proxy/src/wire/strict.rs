//! Strict JSON: one value in one pass, refused as soon as two readers could read it differently. Called by `answer`
//! and `question`; it knows nothing of either format.
//!
//! Not serde_json, for three reasons: it accepts a member twice, it converts numbers (and refuses `1e999999`, which
//! MinIO accepts in a member it does not know), and its own ways round that (`RawValue` for every member) read each
//! level again. A property test holds this reader against serde_json: both accept the same documents, except those
//! that [`StrictError`] names.

mod token;

use std::borrow::Cow;

use token::Tokens;

/// How much a document may contain. The bytes are limited by whoever reads them from the network.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Arrays and objects within each other; the outermost counts as 1.
    pub depth: usize,
    /// Members of all objects together.
    pub members: usize,
    /// Elements of all arrays together.
    pub elements: usize,
    /// Whether a number beyond the range of a double is an error. Readers disagree about them.
    pub finite: bool,
}

/// A JSON value that borrows from the text it was read from.
#[derive(Debug, Clone, PartialEq)]
pub enum Node<'a> {
    Null,
    Bool(bool),
    /// As written, never rounded.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    /// In the order written; names are unique.
    Object(Vec<Member<'a>>),
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member<'a> {
    /// After unescaping.
    pub name: Cow<'a, str>,
    pub value: Node<'a>,
    /// The value as written, without surrounding white space.
    pub text: &'a str,
}

/// Why a document was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StrictError {
    #[error("not UTF-8")]
    NotUtf8,
    /// Also a byte order mark, a lone surrogate and an empty body.
    #[error("not JSON")]
    Syntax,
    #[error("something follows the value")]
    TrailingData,
    #[error("nested too deeply")]
    TooDeep,
    #[error("a member twice")]
    DuplicateMember,
    #[error("too many members or elements")]
    TooMany,
    #[error("a number out of range")]
    NumberRange,
}

impl<'a> Node<'a> {
    /// The member of that exact name, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Member<'a>> {
        self.members().iter().find(|member| member.name == name)
    }

    /// Empty where this is no object.
    pub fn members(&self) -> &[Member<'a>] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads one value and nothing else.
pub fn read(body: &[u8], limits: Limits) -> Result<Node<'_>, StrictError> {
    let text = std::str::from_utf8(body).map_err(|_| StrictError::NotUtf8)?;
    let mut reader = Reader { tokens: Tokens::new(text), depth: 0, members: 0, elements: 0, limits };
    reader.tokens.skip_space();
    let value = reader.value()?;
    reader.tokens.skip_space();
    if reader.tokens.is_at_end() { Ok(value) } else { Err(StrictError::TrailingData) }
}

/// Whether a lax reader could take `name` for `known`, which is ASCII: equal but for letter case, by Unicode's simple
/// folding (what Go's encoding/json does: `ſ` is an s, the Kelvin sign a k) or by Java's (`ı` and `İ` are an i).
pub fn folds_to(name: &str, known: &str) -> bool {
    name.chars().map(fold).eq(known.chars().map(fold))
}

fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        c => c.to_ascii_lowercase(),
    }
}

/// What `input` of a question has, and two more. Its conditions are about twice as many: they grow once.
const USUAL_MEMBERS: usize = 12;

struct Reader<'a> {
    tokens: Tokens<'a>,
    depth: usize,
    members: usize,
    elements: usize,
    limits: Limits,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Node<'a>, StrictError> {
        match self.tokens.peek() {
            Some(b'"') => self.tokens.string().map(Node::String),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b't') => self.tokens.word("true").map(|()| Node::Bool(true)),
            Some(b'f') => self.tokens.word("false").map(|()| Node::Bool(false)),
            Some(b'n') => self.tokens.word("null").map(|()| Node::Null),
            Some(b'-' | b'0'..=b'9') => self.tokens.number(self.limits.finite).map(Node::Number),
            _ => Err(StrictError::Syntax),
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Node<'a>, StrictError>,
    ) -> Result<Node<'a>, StrictError> {
        if self.depth == self.limits.depth {
            return Err(StrictError::TooDeep);
        }
        self.depth += 1;
        self.tokens.at += 1;
        let node = read(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn object(&mut self) -> Result<Node<'a>, StrictError> {
        self.tokens.skip_space();
        if self.tokens.eat(b'}') {
            return Ok(Node::Object(Vec::new()));
        }
        let mut members: Vec<Member<'a>> = Vec::with_capacity(USUAL_MEMBERS);
        loop {
            self.members += 1;
            if self.members > self.limits.members {
                return Err(StrictError::TooMany);
            }
            self.tokens.skip_space();
            members.push(self.member()?);
            self.tokens.skip_space();
            if self.tokens.eat(b'}') {
                break;
            }
            self.tokens.expect(b',')?;
        }
        if has_duplicate(&members) { Err(StrictError::DuplicateMember) } else { Ok(Node::Object(members)) }
    }

    fn member(&mut self) -> Result<Member<'a>, StrictError> {
        if self.tokens.peek() != Some(b'"') {
            return Err(StrictError::Syntax);
        }
        let name = self.tokens.string()?;
        self.tokens.skip_space();
        self.tokens.expect(b':')?;
        self.tokens.skip_space();
        let start = self.tokens.at;
        let value = self.value()?;
        Ok(Member { name, value, text: self.tokens.slice(start)? })
    }

    fn array(&mut self) -> Result<Node<'a>, StrictError> {
        self.tokens.skip_space();
        if self.tokens.eat(b']') {
            return Ok(Node::Array(Vec::new()));
        }
        // Nearly every array in a question is a condition with one value.
        let mut elements = Vec::with_capacity(1);
        loop {
            self.elements += 1;
            if self.elements > self.limits.elements {
                return Err(StrictError::TooMany);
            }
            self.tokens.skip_space();
            elements.push(self.value()?);
            self.tokens.skip_space();
            if self.tokens.eat(b']') {
                return Ok(Node::Array(elements));
            }
            self.tokens.expect(b',')?;
        }
    }
}

/// A few members are compared in pairs, more are sorted: neither hashes what a stranger chose, and neither is
/// quadratic in it.
fn has_duplicate(members: &[Member<'_>]) -> bool {
    const FEW: usize = 12;
    if members.len() <= FEW {
        let earlier = |at: usize| members.iter().take(at);
        return members.iter().enumerate().any(|(at, member)| earlier(at).any(|other| other.name == member.name));
    }
    // MinIO sends the keys of its maps in order: one pass finds that out.
    if members.is_sorted_by(|one, other| one.name < other.name) {
        return false;
    }
    let mut names: Vec<&str> = members.iter().map(|member| member.name.as_ref()).collect();
    names.sort_unstable();
    names.iter().zip(names.iter().skip(1)).any(|(one, other)| one == other)
}

#[cfg(test)]
mod tests;
