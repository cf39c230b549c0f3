//! Whether everybody on the way reads the same end of a question. pingora already refuses what has no end; here is
//! refused what it would mend: two ends of which it picks one. A proxy before us may have picked the other, and what
//! lies between the two would be somebody else's question. Called by `front`.

use http::{HeaderMap, header};
use pingora::protocols::http::ServerSession;

/// At most one length, in digits, or one `chunked`; never both. HTTP/2 frames its own questions, and a length in one that
/// somebody else may read otherwise is refused as well.
pub fn is_plain(session: &ServerSession) -> bool {
    let headers = &session.req_header().headers;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => has_plain_length(headers),
        // pingora drops a length beside a coding, so that only the bytes tell of it.
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked") && !names_length(&session.to_h1_raw()),
        (Some(_), Some(_)) => false,
    }
}

/// No length, or exactly one: twice the same is what a fault in between looks like.
fn has_plain_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => true,
        (Some(only), None) => is_number(only.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// At least one digit, and no leading zero, which some read as octal.
fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit) && (text == b"0" || !text.starts_with(b"0"))
}

fn names_length(head: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    head.split(|byte| *byte == b'\n')
        .any(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_once() {
        let plain = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_LENGTH, value.parse().unwrap());
            }
            has_plain_length(&headers)
        };
        for good in [&[][..], &["0"], &["5"], &["1048576"]] {
            assert!(plain(good), "{good:?}");
        }
        for bad in [&["5", "5"][..], &["5", "6"], &["5, 5"], &["05"], &["00"], &["+5"], &["-1"], &["0x5"], &["5 "]] {
            assert!(!plain(bad), "{bad:?}");
        }
    }

    /// Some take it for 0, some for none, some for an error.
    #[test]
    fn a_length_without_digits_is_none() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, "".parse().unwrap());
        assert!(!has_plain_length(&headers));
    }

    #[test]
    fn a_length_is_found_in_any_spelling() {
        assert!(names_length(b"POST / HTTP/1.1\r\nHost: c\r\ncOnTeNt-LeNgTh: 5\r\n\r\n"));
        assert!(!names_length(b"POST / HTTP/1.1\r\nX-Content-Length: 5\r\nHost: content-length:\r\n\r\n"));
    }
}
