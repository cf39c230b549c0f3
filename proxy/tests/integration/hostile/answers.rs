//! Bodies that an authorizer may send with status 200: U01 to U19, F69, F74. What each is to be is written here by hand;
//! that whatever we allow MinIO would have allowed is `wire`, on many more. Rows of `authorizer`.

use countersign::policy::verdict::Reason::{
    self, Allowed, AmbiguousAnswer, AnswerTooLarge, ContradictoryAnswer, Denied, MalformedAnswer, Undefined,
};

use super::authorizer::{ECHO, Row};
use crate::authorizer::evil::answer;

pub fn rows() -> Vec<Row> {
    let rows = PLAIN.iter().chain(&TYPES).chain(&AMBIGUOUS).map(|(id, body, reason)| said(id, body, *reason));
    rows.chain(bytes()).chain(limits()).collect()
}

fn said(id: &'static str, body: &str, reason: Reason) -> Row {
    Row::saying(id, body, answer("200 OK", "", body), reason)
}

const PLAIN: [(&str, &str, Reason); 21] = [
    ("U01", r#"{"result":true}"#, Allowed),
    ("U01", " \r\n{ \"result\" :\ttrue }\n", Allowed),
    ("U02", r#"{"result":{"allow":true}}"#, Allowed),
    ("U03", r#"{"result":true,"decision_id":"x","metrics":{}}"#, Allowed),
    ("U03", r#"{"result":{"allow":true,"why":["a",{"b":null}]},"warning":1}"#, Allowed),
    ("U04", r#"{"result":false}"#, Denied),
    ("U04", r#"{"result":{"allow":false}}"#, Denied),
    ("U05", "{}", Undefined),
    ("U05", "null", Undefined),
    ("U05", r#"{"result":null}"#, Undefined),
    ("U05", r#"{"result":{}}"#, Undefined),
    ("U05", r#"{"result":{"allow":null}}"#, Undefined),
    ("U05", r#"{"allow":true}"#, Undefined),
    ("F74", r#"{"decision_id":"a policy that is not there"}"#, Undefined),
    ("U06", "", MalformedAnswer),
    ("U06", "true", MalformedAnswer),
    ("U06", "[]", MalformedAnswer),
    ("U06", r#"[{"result":true}]"#, MalformedAnswer),
    ("U06", "\"x\"", MalformedAnswer),
    ("U17", r#"{"\u0072esult":true}"#, Allowed),
    ("U17", r#"{"result":{"\u0061llow":true}}"#, Allowed),
];

const TYPES: [(&str, &str, Reason); 12] = [
    ("U07", r#"{"result":"true"}"#, MalformedAnswer),
    ("U07", r#"{"result":1}"#, MalformedAnswer),
    ("U07", r#"{"result":[true]}"#, MalformedAnswer),
    ("U07", r#"{"result":{"allow":"true"}}"#, MalformedAnswer),
    ("U07", r#"{"result":{"allow":{"allow":true}}}"#, MalformedAnswer),
    ("U07", r#"{"result":True}"#, MalformedAnswer),
    ("U15", r#"{"result":true}garbage"#, MalformedAnswer),
    ("U15", r#"{"result":true}{"result":false}"#, MalformedAnswer),
    ("U15", r#"{"result":true}]"#, MalformedAnswer),
    ("U16", r#"{"result":true"#, MalformedAnswer),
    ("U16", "\u{feff}{\"result\":true}", MalformedAnswer),
    ("U16", "{\"result\":true,\"a\":\"\\ud800\"}", MalformedAnswer),
];

const AMBIGUOUS: [(&str, &str, Reason); 20] = [
    ("U08", r#"{"Result":true}"#, AmbiguousAnswer),
    ("U08", r#"{"RESULT":{"ALLOW":true}}"#, AmbiguousAnswer),
    ("U08", r#"{"result":{"Allow":true}}"#, AmbiguousAnswer),
    ("U09", "{\"re\u{17f}ult\":true}", AmbiguousAnswer),
    ("U09", r#"{"re\u017fult":true}"#, AmbiguousAnswer),
    ("U10", r#"{"result":true,"result":false}"#, AmbiguousAnswer),
    ("U11", r#"{"result":false,"result":true}"#, AmbiguousAnswer),
    ("U12", r#"{"result":true,"result":null}"#, AmbiguousAnswer),
    ("U13", r#"{"result":{"allow":false,"Allow":true}}"#, AmbiguousAnswer),
    ("U13", r#"{"result":{"allow":true,"allow":null}}"#, AmbiguousAnswer),
    ("U14", r#"{"result":{"allow":true},"result":{"x":1}}"#, AmbiguousAnswer),
    ("U14", r#"{"result":true,"a":{"b":1,"b":1}}"#, AmbiguousAnswer),
    ("U17", r#"{"result":false,"\u0072esult":true}"#, AmbiguousAnswer),
    ("F69", r#"{"result":false,"Result":true}"#, AmbiguousAnswer),
    ("F69", r#"{"result":true,}"#, MalformedAnswer),
    ("F69", r#"{"result":true/**/}"#, MalformedAnswer),
    ("F69", "{'result':true}", MalformedAnswer),
    ("U18", r#"{"result":{"allow":true,"deny":true}}"#, ContradictoryAnswer),
    ("U18", r#"{"result":true,"allow":false}"#, ContradictoryAnswer),
    ("U18", r#"{"result":{"allow":true,"deny":false}}"#, Allowed),
];

fn bytes() -> Vec<Row> {
    let raw = |what: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        Row::saying("U16", what, [head.as_bytes(), body].concat(), MalformedAnswer)
    };
    let utf_16: Vec<u8> = r#"{"result":true}"#.encode_utf16().flat_map(u16::to_be_bytes).collect();
    vec![
        raw("UTF-16", &utf_16),
        raw("no UTF-8 in a member that nobody reads", b"{\"result\":true,\"a\":\"\xff\"}"),
        raw("an overlong quote", b"{\"result\":true,\"a\":\"\xc0\xa2\"}"),
        raw("a NUL behind it", b"{\"result\":true}\0"),
    ]
}

fn limits() -> Vec<Row> {
    let beside = |what: &str, value: String, reason| {
        Row::saying("U19", what, answer("200 OK", "", &format!("{{\"result\":true,\"a\":{value}}}")), reason)
    };
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    vec![
        beside("31 levels", nested(31), Allowed),
        beside("33 levels", nested(32), MalformedAnswer),
        beside("30,000 levels", nested(30_000), MalformedAnswer),
        beside("30,000 levels without an end", "[".repeat(30_000), MalformedAnswer),
        beside(
            "5,000 members",
            format!("{{{}\"x\":1}}", (0..5000).map(|n| format!("\"{n}\":1,")).collect::<String>()),
            MalformedAnswer,
        ),
        beside("10 MB of a name", format!("{{\"{}\":1}}", "x".repeat(10_000_000)), AnswerTooLarge).poisoning(),
        beside("1e9999", "1e9999".to_owned(), Allowed),
        beside("beyond 64 bits", "18446744073709551616".to_owned(), Allowed),
        beside("what was asked, sent back", format!("\"{ECHO}\""), Allowed),
    ]
}
