//! Spans, read back from what the OpenTelemetry collector's debug exporter prints.

use loadtest::laboratory::collector::Collector;

/// One span as it arrived. Ids are lower-case hex.
#[derive(Debug, Clone)]
pub struct Span {
    pub trace: String,
    /// Empty for a root.
    pub parent: String,
    pub id: String,
    pub name: String,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    /// All of it, attributes included.
    pub text: String,
}

impl Span {
    pub fn has(&self, attribute: &str, value: &str) -> bool {
        self.text.lines().any(|line| line.trim() == format!("-> {attribute}: Str({value})"))
    }
}

/// Every span that is wholly there. The last one may be in the middle of being printed: look again.
pub fn spans(collector: &Collector) -> Vec<Span> {
    read(&collector.output())
}

fn read(output: &str) -> Vec<Span> {
    output.split("\nSpan #").skip(1).filter_map(one).collect()
}

fn one(text: &str) -> Option<Span> {
    let member = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let links = text.split("\nSpanLink #").skip(1).filter_map(|link| {
        let member = |name: &str| Some(link.lines().find_map(|line| line.trim().strip_prefix(name))?.trim().to_owned());
        Some((member("-> Trace ID:")?, member("-> ID:")?))
    });
    Some(Span {
        trace: member("Trace ID ")?,
        parent: member("Parent ID ")?,
        id: member("ID ")?,
        name: member("Name ")?,
        links: links.collect(),
        text: text.to_owned(),
    })
}

#[test]
fn a_printed_span_is_read() {
    let output = "ScopeSpans #0\nSpan #0\n    Trace ID       : aa\n    Parent ID      : \n    ID             : bb\n    \
                  Name           : send t\nAttributes:\n     -> error.type: Str(timeout)\nLinks:\nSpanLink #0\n     \
                  -> Trace ID: cc\n     -> ID: dd\nSpan #1\n    Trace ID       : ee";
    let [span] = &read(output)[..] else { panic!("one whole span") };
    assert_eq!((span.trace.as_str(), span.parent.as_str(), span.id.as_str()), ("aa", "", "bb"));
    assert_eq!((span.name.as_str(), &span.links[..]), ("send t", &[("cc".to_owned(), "dd".to_owned())][..]));
    assert!(span.has("error.type", "timeout") && !span.has("error.type", "time"));
}
