//! A real browser without a window: Debian's Chromium, driven over its debugging pipe (the DevTools protocol, one JSON
//! message after the other, each ended by a zero byte). It resolves no name and so reaches nothing but 127.0.0.1.

use super::error::{Error, Result};
use super::process::Process;
use super::{Laboratory, part, versions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;

/// For one answer of the browser, and for a page to load.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that nobody has asked for and that are kept; a page of ours causes a few dozen.
const MAX_EVENTS: usize = 4096;
/// Nothing that a page did not ask for, and no sandbox, which root cannot have.
const FLAGS: [&str; 10] = [
    "--headless=new",
    "--disable-gpu",
    "--no-first-run",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
];

/// What a page is shown in.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// In the page's own pixels.
    pub width: u32,
    pub height: u32,
    /// The reader prefers dark colours.
    pub dark: bool,
}

impl Window {
    /// A small phone.
    pub const PHONE: Self = Self { width: 360, height: 740, dark: false };
    pub const DESK: Self = Self { width: 1100, height: 900, dark: false };
}

/// A browser that runs, with one page. It ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    _home: TempDir,
    to: pipe::Sender,
    from: BufReader<pipe::Receiver>,
    session: Option<String>,
    last: u64,
    events: VecDeque<Value>,
}

/// What opening a page has caused.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// The address of everything that was asked for, the page itself included.
    pub requests: Vec<String>,
    /// What the browser says is wrong with the page, such as a breach of its own policy.
    pub complaints: Vec<String>,
}

impl Browser {
    /// # Errors
    /// When there is no Chromium, or it does not start.
    pub async fn start(lab: &Laboratory) -> Result<Self> {
        let program = lab.debian_program("chromium", versions::BROWSER_PACKAGE).await?;
        let home = part::home("browser")?;
        let [to, from] = ["to", "from"].map(|name| home.path().join(name));
        for path in [&to, &from] {
            fifo(path)?;
        }
        // Both ends for reading and writing: opening waits for nobody.
        let sender = pipe::OpenOptions::new().read_write(true).open_sender(&to).map_err(Error::path("opening", &to))?;
        let receiver = pipe::OpenOptions::new().read_write(true).open_receiver(&from);
        let receiver = receiver.map_err(Error::path("opening", &from))?;
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 3<>to 4<>from"#, "sh"]).arg(program).args(FLAGS);
        command.arg(format!("--user-data-dir={}", home.path().join("profile").display()));
        command.current_dir(home.path()).env("HOME", home.path());
        let process = Process::start(&mut command, &home.path().join("log"))?;
        let (session, last, events) = (None, 0, VecDeque::new());
        let from = BufReader::new(receiver);
        let mut browser = Self { process, _home: home, to: sender, from, session, last, events };
        browser.attach().await?;
        Ok(browser)
    }

    async fn attach(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": at(&target, "/targetId"), "flatten": true});
        let attached = self.call("Target.attachToTarget", attach).await?;
        self.session = at(&attached, "/sessionId").as_str().map(str::to_owned);
        for domain in ["Page.enable", "Network.enable", "Log.enable", "Runtime.enable"] {
            self.call(domain, json!({})).await?;
        }
        Ok(())
    }

    /// Opens `url` and waits until it is loaded.
    /// # Errors
    /// When nobody answers there, or the page does not load in a minute.
    pub async fn visit(&mut self, url: &str, window: Window) -> Result<Visit> {
        let Window { width, height, dark } = window;
        let phone = width < 600;
        let scale = if phone { 2 } else { 1 };
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await?;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await?;
        self.events.clear();
        let opened = self.call("Page.navigate", json!({"url": url})).await?;
        if let Some(why) = at(&opened, "/errorText").as_str() {
            return Err(asked(format!("`{url}`: {why}")));
        }
        while !self.events.iter().any(|event| *at(event, "/method") == "Page.loadEventFired") {
            let event = self.receive().await?;
            self.keep(event);
        }
        // Whatever loading has begun is known once this is answered.
        self.evaluate("document.readyState").await?;
        Ok(self.visited())
    }

    fn visited(&self) -> Visit {
        let of = |method: &'static str| self.events.iter().filter(move |event| *at(event, "/method") == method);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let requests = of("Network.requestWillBeSent").map(|event| text(at(event, "/params/request/url")));
        let complaints = of("Log.entryAdded").filter(|event| *at(event, "/params/entry/level") == "error");
        let complaints = complaints.map(|event| text(at(event, "/params/entry/text")));
        Visit { requests: requests.collect(), complaints: complaints.collect() }
    }

    /// The value of a JavaScript expression in the page.
    /// # Errors
    /// When the expression throws.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let answer = self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true})).await?;
        if !at(&answer, "/exceptionDetails").is_null() {
            return Err(asked(format!("`{expression}`: {}", at(&answer, "/exceptionDetails"))));
        }
        Ok(at(&answer, "/result/value").clone())
    }

    /// The whole page as PNG, below the window's edge too.
    /// # Errors
    /// When the browser or the file cannot.
    pub async fn picture(&mut self, file: &Path) -> Result<()> {
        let answer = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true})).await?;
        let encoded = at(&answer, "/data").as_str().unwrap_or_default();
        let bytes = STANDARD.decode(encoded).map_err(|why| asked(format!("a picture that is no base64: {why}")))?;
        std::fs::write(file, bytes).map_err(Error::path("writing", file))
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last += 1;
        let id = self.last;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let (Some(session), Some(message)) = (&self.session, message.as_object_mut()) {
            message.insert("sessionId".to_owned(), Value::from(session.clone()));
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).await.map_err(Error::io("talking to the browser"))?;
        loop {
            let answer = self.receive().await?;
            if *at(&answer, "/id") != id {
                self.keep(answer);
            } else if at(&answer, "/error").is_null() {
                return Ok(at(&answer, "/result").clone());
            } else {
                return Err(asked(format!("{method}: {}", at(&answer, "/error"))));
            }
        }
    }

    async fn receive(&mut self) -> Result<Value> {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.from.read_until(0, &mut bytes)).await;
        let silent = |_| asked(format!("it says nothing; it has ended: {}", self.process.has_ended()));
        read.map_err(silent)?.map_err(Error::io("listening to the browser"))?;
        bytes.pop();
        serde_json::from_slice(&bytes).map_err(|why| asked(format!("a message that is no JSON: {why}")))
    }

    fn keep(&mut self, event: Value) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.process.end(Duration::ZERO);
    }
}

/// Null where there is nothing.
fn at<'v>(message: &'v Value, pointer: &str) -> &'v Value {
    static NOTHING: Value = Value::Null;
    message.pointer(pointer).unwrap_or(&NOTHING)
}

fn asked(why: String) -> Error {
    Error::Asked { part: "browser", why }
}

fn fifo(path: &Path) -> Result<()> {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let made = rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0);
    made.map_err(|why| Error::path("making", path)(why.into()))
}
