//! Callers' text for people's terminals: nothing of it may move the cursor, change colours or reorder the line. Used by every
//! command that shows values of records.

/// Longer values are cut for show (characters).
const MAX_VALUE: usize = 200;

/// Printable text stays; what moves, colours, hides or reorders becomes `\u{…}`; the rest of a long value becomes `…`.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == MAX_VALUE {
            escaped.push('…');
            break;
        }
        if c == '\\' {
            escaped.push_str("\\\\");
        } else if c.is_control() || hides(c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Format characters and spaces that are not seen as what they are: zero width, direction, line and paragraph ends.
pub fn hides(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
