//! What a load asked of whom, and how: kept in its report, so that a figure can be measured again, and so that `compare`
//! can say where two reports are of unlike loads. It runs nothing; `Load` fills it in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything that a report's figures depend on and that the load itself decides. The machine and the server are not in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub url: String,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: String,
    pub connections: usize,
    /// Questions at once on each connection.
    pub streams: usize,
    /// Questions a second that were due; none is a closed loop.
    pub rate: Option<f64>,
    pub warm_up_seconds: f64,
    /// None: until it was stopped.
    pub duration_seconds: Option<f64>,
    /// For one question.
    pub timeout_seconds: f64,
    /// Of the load generator.
    pub threads: usize,
    /// Each kind of question with its share.
    pub questions: Vec<String>,
    /// Different objects that are asked about; with `hits`, so many of the latest are asked about again.
    pub objects: u64,
    pub accounts: u32,
    /// Share of the questions that were asked before.
    pub hits: Option<f64>,
}

impl Setting {
    /// Where this load and another are unlike, with both values. Not the URL: two servers are what is compared.
    pub(super) fn unlike(&self, other: &Self) -> Vec<String> {
        let mut unlike = Vec::new();
        for ((name, one), (_, other)) in self.told().into_iter().zip(other.told()) {
            if one != other {
                unlike.push(format!("{name}: {one} and {other}"));
            }
        }
        unlike
    }

    fn told(&self) -> Vec<(&'static str, String)> {
        let Self { url: _, protocol, connections, streams, rate, warm_up_seconds, timeout_seconds, .. } = self;
        let Self { threads, questions, objects, accounts, hits, .. } = self;
        vec![
            ("protocol", protocol.clone()),
            ("connections", connections.to_string()),
            ("streams", streams.to_string()),
            ("rate", rate.map_or("closed loop".to_owned(), |rate| format!("{rate}/s"))),
            ("warm-up", format!("{warm_up_seconds} s")),
            ("duration", self.duration_seconds.map_or("until stopped".to_owned(), |seconds| format!("{seconds} s"))),
            ("timeout", format!("{timeout_seconds} s")),
            ("threads of the load generator", threads.to_string()),
            ("questions", questions.join("; ")),
            ("objects", objects.to_string()),
            ("accounts", accounts.to_string()),
            ("hits", hits.map_or("as objects repeat".to_owned(), |hits| hits.to_string())),
        ]
    }
}

/// As the head of a report.
impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, protocol, connections, streams, rate, warm_up_seconds, timeout_seconds, .. } = self;
        let Self { threads, questions, objects, accounts, hits, .. } = self;
        let streams = if *streams > 1 { format!(" with {streams} streams each") } else { String::new() };
        let pace = rate.map_or("closed loop".to_owned(), |rate| format!("open loop, {rate} questions/s"));
        writeln!(out, "server    {url} ({protocol})")?;
        write!(out, "load      {connections} connections{streams}, {pace}, warm-up {warm_up_seconds} s, ")?;
        writeln!(out, "timeout {timeout_seconds} s, generator threads {threads}")?;
        let hits = hits.map_or(String::new(), |hits| format!(", {hits} asked before"));
        write!(out, "questions {} ({objects} objects, {accounts} accounts{hits})", questions.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlike_loads_are_told_apart_and_two_servers_are_not() {
        let one = Setting {
            url: "http://a/".into(),
            protocol: "HTTP/1.1".into(),
            connections: 64,
            streams: 1,
            rate: None,
            warm_up_seconds: 1.0,
            duration_seconds: Some(10.0),
            timeout_seconds: 10.0,
            threads: 1,
            questions: vec!["1 × s3:GetObject".into()],
            objects: 1,
            accounts: 1,
            hits: None,
        };
        assert_eq!(one.unlike(&Setting { url: "http://b/".into(), ..one.clone() }), [""; 0]);
        let other = Setting { connections: 16, rate: Some(500.0), hits: Some(0.5), ..one.clone() };
        let unlike = ["connections: 64 and 16", "rate: closed loop and 500/s", "hits: as objects repeat and 0.5"];
        assert_eq!(one.unlike(&other), unlike);
        let text = other.to_string();
        for part in ["http://a/ (HTTP/1.1)", "16 connections, open loop, 500 questions/s", "s3:GetObject", "0.5 asked"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
