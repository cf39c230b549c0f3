//! The tokens of JSON (RFC 8259): strings, numbers, words, white space. Not how they nest, which is `strict`'s, its only
//! caller.

use std::borrow::Cow;

use super::StrictError;
use crate::wire::plain::plain_length;

/// A place in a text.
pub(super) struct Tokens<'a> {
    text: &'a str,
    /// Index of the next byte; always a character boundary between two tokens.
    pub(super) at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// With both its quotes; what is returned is unescaped.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, StrictError> {
        self.expect(b'"')?;
        let start = self.at;
        self.skip_plain();
        let plain = self.slice(start)?;
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            match self.next() {
                Some(b'"') => return Ok(Cow::Owned(text)),
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err(StrictError::Syntax),
            }
            let start = self.at;
            self.skip_plain();
            text.push_str(self.slice(start)?);
        }
    }

    /// Up to the closing quote, a backslash, or a control character, which a string must not contain.
    fn skip_plain(&mut self) {
        self.at += plain_length(self.text.as_bytes().get(self.at..).unwrap_or_default());
    }

    fn escape(&mut self) -> Result<char, StrictError> {
        match self.next() {
            Some(b'"') => Ok('"'),
            Some(b'\\') => Ok('\\'),
            Some(b'/') => Ok('/'),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => self.code_point(),
            _ => Err(StrictError::Syntax),
        }
    }

    /// What follows `\u`; half of a surrogate pair alone is an error.
    fn code_point(&mut self) -> Result<char, StrictError> {
        let first = self.four_hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or(StrictError::Syntax);
        }
        self.expect(b'\\')?;
        self.expect(b'u')?;
        let second = self.four_hex()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(StrictError::Syntax);
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(StrictError::Syntax)
    }

    fn four_hex(&mut self) -> Result<u32, StrictError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(StrictError::Syntax)?;
            value = value * 16 + digit;
        }
        Ok(value)
    }

    /// As written. With `finite`, one beyond the range of a double is an error.
    pub(super) fn number(&mut self, finite: bool) -> Result<&'a str, StrictError> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        let mut fractional = false;
        if self.eat(b'.') {
            fractional = true;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            fractional = true;
            self.at += 1;
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        let text = self.slice(start)?;
        // Without an exponent, 308 digits always fit into a double.
        let suspect = finite && (fractional || text.len() > 308);
        if suspect && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(StrictError::NumberRange);
        }
        Ok(text)
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), StrictError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(StrictError::Syntax) } else { Ok(()) }
    }

    /// `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), StrictError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(StrictError::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Whether the next byte was that one; if so it is behind us.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), StrictError> {
        if self.eat(byte) { Ok(()) } else { Err(StrictError::Syntax) }
    }

    /// From `start`, an earlier value of `at`, to here.
    pub(super) fn slice(&self, start: usize) -> Result<&'a str, StrictError> {
        self.text.get(start..self.at).ok_or(StrictError::Syntax)
    }
}
