//! The front under attack: each input on a connection of its own, byte for byte, and after each the question whether
//! everything is as it was. It knows no input; those are the rows of `head`, `framing` and `bodies`.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::policy::verdict::Reason;
use countersign::wire::reply;
use loadtest::stub::{Script, Stub};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::ledger::{Found, Kept, Look, descriptors, harmless, left_open};
use crate::support::http::{self, Answer};
use crate::support::{Countersign, Running, question, records};

pub const TOKEN: &str = "Authorization: Bearer s3cret\r\n";
/// For a connection to be answered and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// One input of the catalogue.
pub struct Row {
    /// In the catalogue: `H09`.
    pub id: &'static str,
    pub what: String,
    /// The whole of what is sent, after which nothing more comes.
    pub sent: Vec<u8>,
    /// Every answer, in order.
    pub answers: Vec<Said>,
    /// The bodies that may reach the authorizer, in order: as many as there are allows.
    pub asked: Vec<Vec<u8>>,
    pub look: Option<Look>,
}

/// An answer to MinIO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// With a record.
    Allow,
    /// To the empty question; without one.
    Probe,
    /// Read, and refused with a record.
    Recorded(Reason),
    /// Refused without one.
    Refused(Reason),
    /// Refused, and nothing that follows is a question.
    Closed,
    /// The same as to a GET, without the body that HEAD must not have.
    Headless,
}

impl Row {
    pub fn new(id: &'static str, what: impl Into<String>, sent: impl Into<Vec<u8>>, answers: &[Said]) -> Self {
        let (what, sent) = (what.into(), sent.into());
        Self { id, what, sent, answers: answers.to_vec(), asked: Vec::new(), look: None }
    }

    /// A question that is asked, exactly as it was sent.
    pub fn passed(id: &'static str, what: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self::new(id, what, sized(&body), &[Said::Allow]).asks(body)
    }

    /// A body that is none.
    pub fn unread(id: &'static str, what: impl Into<String>, body: impl AsRef<[u8]>, reason: Reason) -> Self {
        Self::new(id, what, sized(body), &[Said::Recorded(reason)])
    }

    pub fn asks(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.asked.push(body.into());
        self
    }

    pub fn looks(mut self, look: Look) -> Self {
        self.look = Some(look);
        self
    }

    fn name(&self) -> String {
        format!("{} {}", self.id, self.what)
    }
}

/// A good question, with and without its envelope.
pub fn asked() -> String {
    question("alice", "s3:GetObject", "reports", "a.txt").to_string()
}

pub fn post(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    [format!("POST / HTTP/1.1\r\nHost: c\r\n{TOKEN}{headers}\r\n").as_bytes(), body.as_ref()].concat()
}

pub fn sized(body: impl AsRef<[u8]>) -> Vec<u8> {
    post(&format!("Content-Length: {}\r\n", body.as_ref().len()), body)
}

/// The process, what is behind it, and what it has answered.
pub struct Stage {
    proxy: Running,
    stub: Stub,
    /// Named in questions as if it were somebody to turn to. Nobody may.
    target: TcpListener,
    open: usize,
    series: BTreeSet<String>,
    kept: Vec<Kept>,
    unauthorized: u64,
    found: Found,
}

impl Stage {
    pub async fn start() -> Self {
        let stub = Stub::start(Script::allow()).await.unwrap();
        let proxy = Countersign::asking(&stub.url()).token("Bearer s3cret").start().await;
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (series, kept, found) = (BTreeSet::new(), Vec::new(), Found::default());
        let mut stage = Self { proxy, stub, target, open: 0, series, kept, unauthorized: 0, found };
        // From here on the connection to the authorizer is there, and stays.
        stage.serves("the first").await;
        stage.series = series_of(&stage.proxy.metrics().await);
        stage.serves("the second").await;
        stage.open = descriptors(&stage.proxy);
        stage
    }

    pub fn target(&self) -> String {
        self.target.local_addr().unwrap().to_string()
    }

    pub async fn attack(&mut self, row: &Row) {
        let name = row.name();
        self.found.tried += 1;
        self.stub.forget();
        let mut heard = heard(&self.proxy, &row.sent).await;
        if row.answers == [Said::Headless] {
            // The length is that of the body which a GET would have got.
            heard = String::from_utf8_lossy(&heard).replacen("Content-Length: 45", "Content-Length: 0", 1).into_bytes();
        }
        let (answers, rest) = http::several(&heard);
        if !rest.is_empty() {
            self.found.complain(&name, format!("no answer: {}", rest.escape_ascii()));
        }
        self.judge(row, &name, &answers);
        self.look(row, &name, &answers);
        self.serves(&name).await;
        if let Some(open) = left_open(&self.proxy, self.open).await {
            self.found.complain(&name, format!("{open} descriptors, {} before", self.open));
        }
    }

    fn judge(&mut self, row: &Row, name: &str, answers: &[Answer]) {
        let expected = row.answers.iter().copied().map(Some).chain(std::iter::repeat(None));
        for (answer, expected) in answers.iter().zip(expected) {
            if answer.body.contains("true") && expected != Some(Said::Allow) {
                self.found.wrongly_allowed += 1;
            }
            self.unauthorized += u64::from(answer.status == 401);
            if let Err(why) = expected.ok_or("one too many".to_owned()).and_then(|said| is(answer, said)) {
                self.found.complain(name, format!("{why}: {answer:?}"));
            }
        }
        if answers.len() < row.answers.len() {
            self.found.complain(name, format!("{} of {} answers", answers.len(), row.answers.len()));
        }
    }

    /// Notes which records there must be, and compares what the authorizer was sent.
    fn look(&mut self, row: &Row, name: &str, answers: &[Answer]) {
        let mut questions = self.stub.questions();
        let bodies: Vec<_> = questions.iter().map(|question| question.body.to_vec()).collect();
        if bodies != row.asked {
            self.found.complain(name, format!("{} questions reached the authorizer, or others", bodies.len()));
        }
        for answer in answers.iter().filter(|answer| answer.header("x-countersign-decision").is_some()) {
            let received = (answer.allowed() && !questions.is_empty()).then(|| questions.remove(0));
            self.kept.push(Kept { look: row.look.zip(received), ..Kept::new(name, answer) });
        }
    }

    /// A good question is still allowed.
    async fn serves(&mut self, after: &str) {
        let answers = heard(&self.proxy, &sized(asked())).await;
        match http::several(&answers).0.as_slice() {
            [answer] if is(answer, Said::Allow).is_ok() => self.kept.push(Kept::new(after, answer)),
            other => self.found.complain(after, format!("a good question afterwards: {other:?}")),
        }
    }

    /// Ends the process, and compares what it recorded, counted and logged with what it answered.
    pub async fn finish(mut self) -> (Found, Vec<Kept>, Vec<serde_json::Value>) {
        let series = series_of(&self.proxy.metrics().await);
        if series != self.series {
            let new: Vec<_> = series.symmetric_difference(&self.series).collect();
            self.found.complain("metrics", format!("other series than before: {new:?}"));
        }
        let visited = tokio::time::timeout(Duration::ZERO, self.target.accept()).await;
        if visited.is_ok() {
            self.found.complain("H52", "the address that questions named was visited");
        }
        self.proxy.stop().await;
        if let Err(why) = harmless(&self.proxy.log()) {
            self.found.complain("the log", why);
        }
        let recorded = self.proxy.records();
        let attempts = records::events(&recorded, "unauthorized_attempts");
        let counted: u64 = attempts.iter().filter_map(|event| event["data"]["count"].as_u64()).sum();
        if counted != self.unauthorized {
            self.found.complain("H01", format!("{} attempts without token, {counted} recorded", self.unauthorized));
        }
        self.found.compare(&self.kept, recorded.clone());
        (self.found, self.kept, recorded)
    }
}

/// Everything that comes back until the connection ends. The rest of what is sent may find nobody.
pub async fn heard(proxy: &Running, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut text = Vec::new();
    let send = async {
        writer.write_all(sent).await?;
        writer.shutdown().await
    };
    let both = async { tokio::join!(send, reader.read_to_end(&mut text)) };
    match tokio::time::timeout(PATIENCE, both).await {
        Ok((_, Ok(_))) => {}
        Ok((_, Err(error))) => text.extend_from_slice(format!("<{error}>").as_bytes()),
        Err(_) => text.extend_from_slice(b"<held open>"),
    }
    text
}

/// Whether an answer is this one, to the letter.
fn is(answer: &Answer, said: Said) -> Result<(), String> {
    let (status, body, reason) = match said {
        Said::Allow => (200, reply::ALLOW, Some(Reason::Allowed)),
        Said::Probe => (200, reply::DENY, None),
        Said::Recorded(reason) | Said::Refused(reason) => {
            (reply::http_status(reason), reply::refusal(reason), Some(reason))
        }
        Said::Closed => (400, reply::refusal(Reason::MalformedRequest), Some(Reason::MalformedRequest)),
        Said::Headless => (405, "", Some(Reason::MethodNotAllowed)),
    };
    let recorded = matches!(said, Said::Allow | Said::Recorded(_));
    if answer.status != status || answer.body != body {
        return Err(format!("not {status} `{body}`"));
    }
    if answer.header("x-countersign-reason") != reason.map(Reason::as_str) {
        return Err(format!("not {reason:?}"));
    }
    if answer.header("x-countersign-decision").is_some() != recorded {
        return Err(format!("has a record: {}", !recorded));
    }
    if said == Said::Closed && answer.header("connection") != Some("close") {
        return Err("it does not say that it was the last one".to_owned());
    }
    only_our_headers(answer)
}

/// No redirect, no coding, nothing of anybody else's.
pub fn only_our_headers(answer: &Answer) -> Result<(), String> {
    const OURS: [&str; 7] = [
        "allow",
        "connection",
        "content-length",
        "content-type",
        "date",
        "x-countersign-decision",
        "x-countersign-reason",
    ];
    let other = answer.headers.iter().find(|(name, _)| !OURS.contains(&name.to_lowercase().as_str()));
    other.map_or(Ok(()), |(name, value)| Err(format!("a header of somebody else's, `{name}: {value}`")))
}

/// Names and labels, without values and exemplars.
fn series_of(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(" # ").next().unwrap().rsplit_once(' ').unwrap().0).map(str::to_owned).collect()
}
