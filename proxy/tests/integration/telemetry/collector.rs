//! An OTLP receiver on a free loopback port: takes what is posted and decodes it, or misbehaves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the receiver does with a request.
#[derive(Clone, Copy)]
pub enum Manner {
    Takes,
    Answers(u16),
    /// Reads, and never answers.
    Hangs,
}

/// One export.
pub struct Export {
    pub head: String,
    pub request: ExportTraceServiceRequest,
}

pub struct Collector {
    pub endpoint: String,
    exports: Receiver<Export>,
}

impl Collector {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, exports) = channel();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(export) = read(&stream) else { continue };
                let status = match manner {
                    Manner::Takes => 200,
                    Manner::Answers(status) => status,
                    Manner::Hangs => {
                        held.push(stream);
                        continue;
                    }
                };
                // Before its answer: whoever has that has sent all.
                if sender.send(export).is_err() {
                    return;
                }
                write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        Self { endpoint, exports }
    }

    pub fn next(&self) -> Export {
        self.exports.recv_timeout(PATIENCE).expect("an export")
    }

    /// All spans that came, once the tracer has been shut down.
    pub fn spans(&self) -> Vec<Span> {
        self.exports.try_iter().flat_map(|export| spans(&export)).collect()
    }
}

/// Where nobody listens. A free port would be somebody else's as soon as another test asked for one.
pub const NOBODY: &str = "http://127.0.0.1:1";

pub fn spans(export: &Export) -> Vec<Span> {
    let resources = export.request.resource_spans.iter();
    resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
}

/// The value of an attribute as text.
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::BoolValue(truth) => truth.to_string(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn read(stream: &TcpStream) -> Option<Export> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Export { head, request: ExportTraceServiceRequest::decode(body.as_slice()).unwrap() })
}
