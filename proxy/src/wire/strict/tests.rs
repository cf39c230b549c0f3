//! The strict reader by example, and against serde_json by property.

use proptest::prelude::*;

use super::*;
use crate::wire::fuzz;

const LIMITS: Limits = Limits { depth: 32, members: 100, elements: 100, finite: false };

fn read_text(text: &str) -> Result<Node<'_>, StrictError> {
    read(text.as_bytes(), LIMITS)
}

fn error(text: &str) -> Option<StrictError> {
    read_text(text).err()
}

#[test]
fn values_are_read_as_written() {
    assert_eq!(read_text(" \r\n\t null\n"), Ok(Node::Null));
    assert_eq!(read_text("1e999999"), Ok(Node::Number("1e999999")));
    assert_eq!(read_text("9007199254740993"), Ok(Node::Number("9007199254740993")));
    assert_eq!(read_text("-0"), Ok(Node::Number("-0")));
    assert_eq!(
        read_text(r#""a\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t""#).unwrap().as_str(),
        Some("aé😀\"\\/\u{8}\u{c}\n\r\t")
    );
    let object = read_text(r#"{ "b" : [ 1 , {} ] , "a":"x" }"#).unwrap();
    let names: Vec<_> = object.members().iter().map(|member| (member.name.as_ref(), member.text)).collect();
    assert_eq!(names, [("b", "[ 1 , {} ]"), ("a", "\"x\"")]);
}

#[test]
fn text_without_escapes_is_borrowed() {
    assert!(matches!(read_text("\"plain\""), Ok(Node::String(Cow::Borrowed("plain")))));
    assert!(matches!(read_text("\"\\u0070lain\""), Ok(Node::String(Cow::Owned(text))) if text == "plain"));
}

/// Strings are looked through eight bytes at a time: what ends one counts wherever it stands, and nothing else does.
#[test]
fn every_byte_of_a_string_is_looked_at() {
    for at in 0..20 {
        for c in (0..=0xff_u8).map(char::from).chain(['\u{7ff}', '\u{ffff}', '\u{10ffff}']) {
            let text = format!("{}{c}{}", "x".repeat(at), "y".repeat(20 - at));
            let json = format!("[\"{text}\"]");
            let expected = (c >= ' ' && !['"', '\\'].contains(&c)).then(|| vec![Node::String(text.as_str().into())]);
            assert_eq!(read_text(&json).ok(), expected.map(Node::Array), "{c:?} at {at}");
        }
    }
}

#[test]
fn errors_are_told_apart() {
    assert_eq!(read(b"\"\xff\"", LIMITS), Err(StrictError::NotUtf8));
    assert_eq!(read(b"\"\xc0\xaf\"", LIMITS), Err(StrictError::NotUtf8), "overlong");
    assert_eq!(read(b"\xff\xfe{\0}\0", LIMITS), Err(StrictError::NotUtf8), "UTF-16");
    assert_eq!(error("{}x"), Some(StrictError::TrailingData));
    assert_eq!(error("{} // x"), Some(StrictError::TrailingData));
    assert_eq!(error("nullnull"), Some(StrictError::TrailingData));
    assert_eq!(error("{\"a\":1,\"b\":2,\"\\u0061\":3}"), Some(StrictError::DuplicateMember));
    assert_eq!(error("[{\"x\":{\"a\":1,\"a\":1}}]"), Some(StrictError::DuplicateMember));
    let finite = Limits { finite: true, ..LIMITS };
    assert_eq!(read(b"[1e999]", finite), Err(StrictError::NumberRange));
    assert_eq!(read(format!("[{}]", "9".repeat(400)).as_bytes(), finite), Err(StrictError::NumberRange));
    assert!(read(format!("[1e308,{}]", "9".repeat(308)).as_bytes(), finite).is_ok());
}

#[test]
fn what_is_not_json_is_refused() {
    let texts = [
        "",
        " ",
        "{",
        "}",
        "[",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "{,}",
        "{'a':1}",
        "{a:1}",
        "[1 2]",
        "True",
        "tru",
        "nul",
        "NaN",
        "Infinity",
        "-",
        "+1",
        "[01]",
        "1.",
        ".5",
        "1e",
        "1e+",
        "[0x1]",
        "--1",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\\u+123\"",
        "\"a\u{1}\"",
        "\"a\nb\"",
        "\u{feff}{}",
        "/**/{}",
        "\u{a0}1",
        "\u{b}1",
    ];
    for text in texts {
        assert_eq!(error(text), Some(StrictError::Syntax), "{text:?}");
    }
    assert_eq!(error("1\u{a0}"), Some(StrictError::TrailingData));
}

#[test]
fn limits_hold_exactly() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read_text(&nested(32)).is_ok());
    assert_eq!(error(&nested(33)), Some(StrictError::TooDeep));
    assert_eq!(error(&"[".repeat(1_000_000)), Some(StrictError::TooDeep));
    assert_eq!(error(&"{\"a\":".repeat(100_000)), Some(StrictError::TooDeep));
    let wide = |members: usize| {
        let members: Vec<_> = (0..members).map(|number| format!("\"{number}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(read_text(&wide(100)).is_ok());
    assert_eq!(error(&wide(101)), Some(StrictError::TooMany));
    assert_eq!(error(&format!("[{},{}]", wide(50), wide(51))), Some(StrictError::TooMany));
    assert!(read_text(&format!("[{}0]", "0,".repeat(99))).is_ok());
    assert_eq!(error(&format!("[{}0]", "0,".repeat(100))), Some(StrictError::TooMany));
    assert!(read_text(&format!("[{},{}]", nested(30), nested(30))).is_ok(), "depth is given back");
}

#[test]
fn duplicates_are_found_among_many() {
    for extra in ["\"k50\"", "\"\\u006b50\""] {
        let mut names: Vec<_> = (0..60).map(|number| format!("\"k{number}\"")).collect();
        names.insert(7, extra.to_owned());
        let members: Vec<_> = names.iter().map(|name| format!("{name}:0")).collect();
        assert_eq!(error(&format!("{{{}}}", members.join(","))), Some(StrictError::DuplicateMember));
    }
    let sorted: Vec<_> = (100..160).chain([159]).map(|number| format!("\"k{number}\":0")).collect();
    assert_eq!(error(&format!("{{{}}}", sorted.join(","))), Some(StrictError::DuplicateMember));
}

#[test]
fn folding_is_go_s_and_a_little_more() {
    for variant in ["result", "RESULT", "Result", "re\u{17f}ult", "RE\u{17f}ULT"] {
        assert!(folds_to(variant, "result"), "{variant}");
    }
    assert!(folds_to("buc\u{212a}et", "bucket"));
    assert!(folds_to("or\u{131}g\u{130}nalaction", "originalAction"));
    for other in ["result ", "resul", "results", "résult", "ｒesult", "reſſult"] {
        assert!(!folds_to(other, "result"), "{other}");
    }
}

/// JSON text with white space, escapes and now and then a member twice; `Just` pieces keep shrinking useful.
fn json() -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec!["", "", "", " ", "\n\t"]);
    let name = prop::sample::select(vec![
        "\"a\"",
        "\"\\u0061\"",
        "\"b\"",
        "\"result\"",
        "\"é\"",
        "\"\\ud83d\\ude00\"",
        "\"\"",
    ]);
    let scalar = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "-0",
            "1.5e3",
            "1e400",
            "-12",
            "9007199254740993",
            "\"\\n\""
        ])
        .prop_map(str::to_owned),
        "\"[a-z\\\\\u{1}é]{0,4}\"",
        any::<f64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    scalar.prop_recursive(4, 40, 6, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone(), space.clone()), 0..5);
        prop_oneof![
            prop::collection::vec((inner, space.clone()), 0..5).prop_map(|elements| {
                let elements: Vec<_> = elements.iter().map(|(value, space)| format!("{space}{value}{space}")).collect();
                format!("[{}]", elements.join(","))
            }),
            members.prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value, space)| format!("{space}{name}{space}:{value}{space}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn agrees_with_serde_json(text in json()) {
        fuzz::strict(text.as_bytes());
    }

    #[test]
    fn agrees_with_serde_json_on_broken_text(
        text in json(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (index, byte, kind) in edits {
            let at = index.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, byte),
                1 => bytes.insert(at, b"{}[],:\"\\0-eE. u"[usize::from(byte) % 15]),
                2 => bytes.truncate(at),
                _ => { bytes.get(at).copied().map(|_| bytes.remove(at)); }
            }
        }
        fuzz::strict(&bytes);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz::strict(&bytes);
        fuzz::answer(&bytes);
        fuzz::question(&bytes);
    }
}
