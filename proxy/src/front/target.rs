//! What a request is addressed to, as it was sent. pingora's own reading takes a fragment away and keeps only the path of
//! an absolute target: whoever wrote either meant something else than our endpoint. Called by `front`.

use pingora::protocols::http::ServerSession;

/// Whether it is this path to the letter; the query is ignored.
pub fn is(session: &ServerSession, path: &str) -> bool {
    let sent = session.req_header().raw_path();
    // No part of a target may be a fragment: RFC 9112, section 3.2. HTTP/2's heads come without.
    let whole = session.is_http2() || !has_fragment(&session.to_h1_raw());
    whole && sent.split(|byte| *byte == b'?').next() == Some(path.as_bytes())
}

fn has_fragment(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').next().is_some_and(|line| line.contains(&b'#'))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_fragment_is_looked_for_in_the_first_line_only() {
        let has = super::has_fragment;
        assert!(has(b"POST /# HTTP/1.1\r\nHost: c\r\n\r\n") && has(b"POST /?a=b#c HTTP/1.1\r\n"));
        assert!(!has(b"POST / HTTP/1.1\r\nX: #\r\n\r\n") && !has(b""));
    }
}
