//! Answers near the border between allow and deny: a valid one with up to three things done to it that readers of JSON
//! disagree about. The same seed gives the same bodies.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A member's name between its quotes, and its value, both as JSON text.
type Member = (String, String);

/// An answer before it is written down.
struct Draft {
    /// The members beside `result`.
    root: Vec<Member>,
    /// The members of `result`; `None` for the form `{"result":<bool>}`.
    result: Option<Vec<Member>>,
    /// The value of `result` in that form.
    verdict: String,
    /// How `result` is spelled.
    result_name: String,
    before: Vec<u8>,
    after: Vec<u8>,
}

pub fn generate(rng: &mut StdRng) -> Vec<u8> {
    let mut draft = valid(rng);
    let edits = *[0, 1, 1, 1, 1, 1, 2, 2, 2, 3].choose(rng).unwrap();
    for _ in 0..edits {
        edit(&mut draft, rng);
    }
    let mut body = draft.write(rng);
    if rng.random_ratio(1, 12) {
        damage(&mut body, rng);
    }
    body
}

fn valid(rng: &mut StdRng) -> Draft {
    let verdict = if rng.random_ratio(11, 12) { "true" } else { "false" }.to_owned();
    let nested = rng.random_bool(0.5);
    let mut draft = Draft {
        root: Vec::new(),
        result: nested.then(|| vec![("allow".to_owned(), verdict.clone())]),
        verdict,
        result_name: "result".to_owned(),
        before: Vec::new(),
        after: Vec::new(),
    };
    for _ in 0..rng.random_range(0..3) {
        unknown(&mut draft, rng);
    }
    draft
}

impl Draft {
    /// The object whose member decides, and the name of that member.
    fn deciding(&mut self) -> (&mut Vec<Member>, &'static str) {
        match &mut self.result {
            Some(result) => (result, "allow"),
            None => (&mut self.root, "result"),
        }
    }

    fn write(&self, rng: &mut StdRng) -> Vec<u8> {
        let value = self.result.as_ref().map_or_else(|| self.verdict.clone(), |members| object(members, rng));
        let mut members = self.root.clone();
        members.insert(rng.random_range(0..=members.len()), (self.result_name.clone(), value));
        [&self.before[..], object(&members, rng).as_bytes(), &self.after].concat()
    }
}

fn object(members: &[Member], rng: &mut StdRng) -> String {
    let written = members.iter().map(|(name, value)| {
        let [a, b, c, d] = std::array::from_fn(|_| space(rng));
        format!("{a}\"{name}\"{b}:{c}{value}{d}")
    });
    format!("{{{}}}", written.collect::<Vec<_>>().join(","))
}

fn space(rng: &mut StdRng) -> &'static str {
    ["", "", "", "", "", " ", "\n", "\r\n\t"].choose(rng).unwrap()
}

/// One thing that readers disagree about.
fn edit(draft: &mut Draft, rng: &mut StdRng) {
    match rng.random_range(0..15) {
        0..=2 => another_result(draft, rng),
        3..=5 => another_deciding(draft, rng),
        6 => respell(draft, rng),
        7 => contradict(draft, rng),
        8 => other_type(draft, rng),
        9 | 10 => trail(draft, rng),
        11 => lead(draft, rng),
        12 | 13 => odd_unknown(draft, rng),
        _ => unknown(draft, rng),
    }
}

/// A second `result`, plain or spelled otherwise, before or after the first.
fn another_result(draft: &mut Draft, rng: &mut StdRng) {
    let values =
        ["true", "false", "null", "{}", "{\"allow\":true}", "{\"allow\":false}", "{\"deny\":true}", "1", "\"x\""];
    let member = (spelling("result", rng), (*values.choose(rng).unwrap()).to_owned());
    insert(&mut draft.root, member, rng);
}

/// A second member of the name that decides, in the object that decides.
fn another_deciding(draft: &mut Draft, rng: &mut StdRng) {
    let value = *["true", "false", "null", "null", "0", "\"true\"", "[]"].choose(rng).unwrap();
    let (members, name) = draft.deciding();
    let member = (spelling(name, rng), value.to_owned());
    insert(members, member, rng);
}

fn respell(draft: &mut Draft, rng: &mut StdRng) {
    match &mut draft.result {
        Some(result) if rng.random_bool(0.5) => {
            for (name, _) in result.iter_mut().filter(|(name, _)| name == "allow") {
                *name = spelling("allow", rng);
            }
        }
        _ => draft.result_name = spelling("result", rng),
    }
}

fn contradict(draft: &mut Draft, rng: &mut StdRng) {
    let (name, value) =
        [("deny", "true"), ("allow", "false"), ("deny", "false"), ("allow", "true"), ("deny", "\"true\"")]
            .choose(rng)
            .unwrap();
    let member = ((*name).to_owned(), (*value).to_owned());
    match &mut draft.result {
        Some(result) if rng.random_bool(0.5) => insert(result, member, rng),
        _ => insert(&mut draft.root, member, rng),
    }
}

fn other_type(draft: &mut Draft, rng: &mut StdRng) {
    let value = ["null", "1", "\"true\"", "[true]", "{}", "{\"allow\":true}", "True", "tru"].choose(rng).unwrap();
    match &mut draft.result {
        Some(result) => result.iter_mut().for_each(|(_, old)| (*value).clone_into(old)),
        None => (*value).clone_into(&mut draft.verdict),
    }
}

/// What Go's decoder never looks at.
fn trail(draft: &mut Draft, rng: &mut StdRng) {
    let choices: [&[u8]; 8] =
        [b"x", b"{\"result\":false}", b"\n{\"result\":true}\n", b"<html>", b" // ok", b"\0", b"\xff", b"\n"];
    draft.after.extend_from_slice(choices.choose(rng).unwrap());
    if rng.random_ratio(1, 200) {
        draft.after.resize(70_000, b' ');
    }
}

fn lead(draft: &mut Draft, rng: &mut StdRng) {
    let choices: [&[u8]; 6] = [b" ", b"\n\t", b"\xef\xbb\xbf", b"null", b"/**/", b"\x0c"];
    draft.before.extend_from_slice(choices.choose(rng).unwrap());
}

/// An unknown member that strict readers refuse, or may.
fn odd_unknown(draft: &mut Draft, rng: &mut StdRng) {
    let depth = *[20, 29, 30, 31, 32, 40, 200].choose(rng).unwrap();
    let value = match rng.random_range(0..7) {
        0 => format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        1 => "{\"a\":1,\"a\":2}".to_owned(),
        2 => "\"\\ud800\"".to_owned(),
        3 => "1e999999".to_owned(),
        4 => "[01]".to_owned(),
        5 => "\"a\u{1}\"".to_owned(),
        _ => "{\"Result\":false,\"result\":false,\"allow\":false}".to_owned(),
    };
    insert(&mut draft.root, ("odd".to_owned(), value), rng);
}

fn unknown(draft: &mut Draft, rng: &mut StdRng) {
    let value =
        *["1", "-0.5e-7", "\"é\\n\\u00e9\"", "[1,[2,{}]]", "{\"allow\":false}", "null", "true"].choose(rng).unwrap();
    let name = ["decision_id", "metrics", "reason", "resulT ", "results", "", "é", "k\\\"", "x"].choose(rng).unwrap();
    // The same name twice would be an edit of its own.
    let member = (format!("{name}{}", rng.random::<u16>()), value.to_owned());
    match &mut draft.result {
        Some(result) if rng.random_bool(0.5) => insert(result, member, rng),
        _ => insert(&mut draft.root, member, rng),
    }
}

fn insert(members: &mut Vec<Member>, member: Member, rng: &mut StdRng) {
    members.insert(rng.random_range(0..=members.len()), member);
}

/// The name itself, or with letters in the other case, folded to them, or escaped.
fn spelling(name: &str, rng: &mut StdRng) -> String {
    let way = rng.random_range(0..4);
    let mut letter = |c: char| match (way, rng.random_range(0..3)) {
        (1, 0) => c.to_ascii_uppercase().to_string(),
        (2, 0) => format!("\\u{:04x}", u32::from(c)),
        (3, _) if c == 's' => ["ſ", "\\u017f", "\\u017F"][rng.random_range(0..3)].to_owned(),
        (3, 0) => c.to_ascii_uppercase().to_string(),
        _ => c.to_string(),
    };
    name.chars().map(&mut letter).collect()
}

/// What happens on a bad line: the end is missing, a bit or byte is another.
fn damage(body: &mut Vec<u8>, rng: &mut StdRng) {
    let at = rng.random_range(0..body.len());
    match rng.random_range(0..4) {
        0 => body.truncate(at),
        1 => body[at] ^= 1 << rng.random_range(0..8),
        2 => body.insert(at, *b"{}[],:\" \\0t\xff".choose(rng).unwrap()),
        _ => drop(body.remove(at)),
    }
}
