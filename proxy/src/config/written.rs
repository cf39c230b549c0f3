//! A configuration as it is written: tables and values with their place in the file, read by the key table. Reports
//! unknown keys, wrong types, words and bounds, and goes on. What a value means beside others is `check`'s part, which
//! is also the only caller.

use std::ops::Deref;

use serde::de::{DeserializeOwned, IntoDeserializer, value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnose::{Page, Span, did_you_mean, list, nearest};
use super::keys::{self, Given, Key, Takes, join, takes};
use super::values::{FromToml, Wrong};

/// A value and its place. `span` is `None` for a default.
#[derive(Debug, Clone)]
pub struct At<T> {
    pub value: T,
    pub span: Option<Span>,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One table of the file; an absent one is empty.
#[derive(Debug)]
pub struct Table<'a> {
    pub path: String,
    /// Its head in the file.
    pub span: Option<Span>,
    pub page: &'a Page<'a>,
    keys: &'static [Key],
    entries: Option<&'a DeTable<'a>>,
}

impl<'a> Table<'a> {
    /// Opens a table and reports every key in it that does not exist.
    pub fn open(
        page: &'a Page<'a>,
        path: &str,
        keys: &'static [Key],
        span: Option<Span>,
        in_file: Option<&'a DeTable<'a>>,
    ) -> Self {
        for (name, _) in in_file.into_iter().flatten() {
            if keys.iter().all(|key| key.name != name.get_ref().as_ref()) {
                let unknown = format!("unknown key `{}`", join(path, name.get_ref()));
                page.error(&Some(name.span()), unknown + &suggestion(name.get_ref(), path, keys));
            }
        }
        Self { path: path.to_owned(), span, page, keys, entries: in_file }
    }

    pub fn is_written(&self) -> bool {
        self.entries.is_some()
    }

    pub fn has(&self, name: &str) -> bool {
        self.written(name).is_some()
    }

    /// The place of a key's value, or of the table where it is not written.
    pub fn place(&self, name: &str) -> Option<Span> {
        self.written(name).map(Spanned::span).or_else(|| self.span.clone())
    }

    pub fn error(&self, name: &str, message: impl Into<String>) {
        self.page.error(&self.place(name), message);
    }

    pub fn absent(&self, name: &str, message: impl Into<String>) {
        self.page.absent(&self.place(name), message);
    }

    pub fn warn(&self, name: &str, message: impl Into<String>) {
        self.page.warn(&self.place(name), message);
    }

    /// The value as written; where it is wrong or absent, the default; where there is none, `None`. What is wrong or
    /// missing has been reported.
    pub fn at<T: FromToml>(&self, name: &str) -> Option<At<T>> {
        let key = self.key(name)?;
        if let Some(value) = self.written(name) {
            match T::from_toml(value.get_ref(), &key.takes) {
                Ok(read) => return Some(At { value: read, span: Some(value.span()) }),
                Err(wrong) => self.report(key, &value.span(), wrong),
            }
        } else if matches!(key.given, Given::Required) {
            self.missing(key);
        }
        let Given::Default(text) = key.given else { return None };
        let default = DeValue::parse(text).ok()?;
        Some(At { value: T::from_toml(default.get_ref(), &key.takes).ok()?, span: None })
    }

    pub fn get<T: FromToml>(&self, name: &str) -> Option<T> {
        self.at(name).map(|at| at.value)
    }

    /// A word as the enum that stands for it.
    pub fn word<E: DeserializeOwned>(&self, name: &str) -> Option<E> {
        as_word(&self.get::<String>(name)?)
    }

    /// A list of texts or words, each with its place.
    pub fn texts(&self, name: &str) -> Option<Vec<At<String>>> {
        let key = self.key(name)?;
        let Some(value) = self.written(name) else {
            if matches!(key.given, Given::Required) {
                self.missing(key);
            }
            let Given::Default(text) = key.given else { return None };
            let default = DeValue::parse(text).ok()?;
            let items = default.get_ref().as_array()?.iter();
            return Some(
                items.filter_map(|item| Some(At { value: item.get_ref().as_str()?.to_owned(), span: None })).collect(),
            );
        };
        let Some(items) = value.get_ref().as_array() else {
            self.report(key, &value.span(), Wrong::Type);
            return None;
        };
        let mut read = Vec::new();
        for item in items.iter() {
            match String::from_toml(item.get_ref(), &key.takes) {
                Ok(text) => read.push(At { value: text, span: Some(item.span()) }),
                Err(wrong) => self.report(key, &item.span(), wrong),
            }
        }
        Some(read)
    }

    pub fn words<E: DeserializeOwned>(&self, name: &str) -> Option<Vec<E>> {
        Some(self.texts(name)?.iter().filter_map(|word| as_word(word)).collect())
    }

    /// The table under a key, empty where it is not written.
    pub fn table(&self, name: &str) -> Table<'a> {
        let (path, members) = (join(&self.path, name), self.members(name));
        let Some(value) = self.written(name) else { return Self::open(self.page, &path, members, None, None) };
        let inner = value.get_ref().as_table();
        if inner.is_none()
            && let Some(key) = self.key(name)
        {
            self.report(key, &value.span(), Wrong::Type);
        }
        Self::open(self.page, &path, members, Some(value.span()), inner)
    }

    /// The tables of a list of tables, none where it is not written.
    pub fn tables(&self, name: &str) -> Vec<Table<'a>> {
        let (Some(value), Some(key)) = (self.written(name), self.key(name)) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.report(key, &value.span(), Wrong::Type);
            return Vec::new();
        };
        let mut read = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(inner) => {
                    let (path, span) = (join(&self.path, name), Some(item.span()));
                    read.push(Self::open(self.page, &path, self.members(name), span, Some(inner)));
                }
                None => self.report(key, &item.span(), Wrong::Type),
            }
        }
        read
    }

    /// The members of a table whose names are free.
    pub fn properties(&self, name: &str) -> Vec<(At<String>, &'a Spanned<DeValue<'a>>)> {
        let (Some(value), Some(key)) = (self.written(name), self.key(name)) else { return Vec::new() };
        let Some(members) = value.get_ref().as_table() else {
            self.report(key, &value.span(), Wrong::Type);
            return Vec::new();
        };
        let named = |name: &Spanned<_>, text: &str| At { value: text.to_owned(), span: Some(name.span()) };
        members.iter().map(|(name, value)| (named(name, name.get_ref()), value)).collect()
    }

    pub fn written(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries?.get(name)
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        let key = self.keys.iter().find(|key| key.name == name);
        if key.is_none() {
            // Reading a key that the table lacks is our own defect; refusing is the safe way to show it.
            self.page.error(&self.span, format!("the key `{}` is not in the table of keys", join(&self.path, name)));
        }
        key
    }

    fn members(&self, name: &str) -> &'static [Key] {
        match self.key(name).map(|key| key.takes) {
            Some(Takes::Table(members) | Takes::Tables(members)) => members,
            Some(Takes::Secret) => keys::SECRET,
            _ => &[],
        }
    }

    fn missing(&self, key: &Key) {
        let path = join(&self.path, key.name);
        self.page.error(&self.span, format!("`{path}` is missing: {}", takes(&key.takes)));
    }

    fn report(&self, key: &Key, span: &Span, wrong: Wrong) {
        let path = join(&self.path, key.name);
        let excerpt = self.page.excerpt(span);
        let message = match (wrong, &key.takes) {
            // Whatever stands there may be the secret itself.
            (Wrong::Type, Takes::Secret) => {
                format!("`{path}` takes {}; a secret is never written here", takes(&key.takes))
            }
            (Wrong::Type, Takes::Tables(_)) if !path.contains('.') => {
                format!("`{path}` is a list of tables: write `[[{path}]]`")
            }
            // So may a table's place: `tokens = ["Bearer …"]`, `headers = "Authorization: …"`.
            (Wrong::Type, kind @ (Takes::Properties | Takes::Table(_) | Takes::Tables(_))) => {
                format!("`{path}` takes {}", takes(kind))
            }
            (Wrong::Type, kind) => format!("`{path}` takes {}, not `{excerpt}`", takes(kind)),
            (Wrong::Range, kind) => format!("`{path}` is `{excerpt}`, but takes {}", takes(kind)),
            (Wrong::Word(word), Takes::Word(words) | Takes::Words(words)) => {
                match nearest(&word, words.iter().copied()) {
                    Some(near) => format!("`{path}` does not know `{word}`; did you mean `{near}`?"),
                    None => format!("`{path}` does not know `{word}`; it takes {}", list(words)),
                }
            }
            (Wrong::Word(word), kind) => format!("`{path}` takes {}, not `{word}`", takes(kind)),
        };
        self.page.error(&Some(span.clone()), message);
    }
}

fn as_word<E: DeserializeOwned>(word: &str) -> Option<E> {
    let text: value::StrDeserializer<'_, value::Error> = word.into_deserializer();
    E::deserialize(text).ok()
}

/// The nearest key of this table; failing that, the same key of another.
fn suggestion(wrong: &str, path: &str, keys: &'static [Key]) -> String {
    let near = did_you_mean(wrong, keys.iter().map(|key| key.name));
    if !near.is_empty() {
        return near;
    }
    let elsewhere = keys::leaves().into_iter().find(|leaf| leaf.key.name == wrong && leaf.path != join(path, wrong));
    elsewhere.map(|leaf| format!("; did you mean `{}`?", leaf.path)).unwrap_or_default()
}
