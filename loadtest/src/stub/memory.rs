//! What the stub knows: its script, what it was asked, its connections, and who waits for a change of those.
//!
//! Shared by the handle a test holds and the tasks that serve connections. It does no input or output.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use super::connection::Order;
use super::script::Script;

/// Requests kept for [`super::Stub::questions`]; older ones are forgotten.
const REMEMBERED: usize = 10_000;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// In the order and the letter case in which they came.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// When the last byte of it was here.
    pub at: Instant,
    /// Equal for requests of one connection; counts from 1.
    pub connection_id: u64,
}

impl Received {
    /// The first header of that name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Counts of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Since the stub was made.
    pub opened: u64,
    pub open: usize,
}

/// An order to one idle connection, and whom to tell when it is done.
pub(super) type Command = (Order, oneshot::Sender<()>);

#[derive(Debug)]
struct Open {
    commands: mpsc::UnboundedSender<Command>,
    idle: bool,
}

#[derive(Debug)]
pub(super) struct Memory {
    script: Mutex<Script>,
    questions: Mutex<VecDeque<Received>>,
    asked: AtomicU64,
    opened: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
    changed: Notify,
}

impl Memory {
    pub(super) fn new(script: Script) -> Self {
        Self {
            script: Mutex::new(script),
            questions: Mutex::default(),
            asked: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            open: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(super) fn set_script(&self, script: Script) {
        *self.script.lock() = script;
    }

    pub(super) fn script(&self) -> Script {
        self.script.lock().clone()
    }

    pub(super) fn questions(&self) -> Vec<Received> {
        self.questions.lock().iter().cloned().collect()
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    pub(super) fn forget(&self) {
        self.questions.lock().clear();
    }

    pub(super) fn remember(&self, received: Received) {
        let mut questions = self.questions.lock();
        if questions.len() == REMEMBERED {
            questions.pop_front();
        }
        questions.push_back(received);
        self.asked.fetch_add(1, Ordering::SeqCst);
        drop(questions);
        self.changed.notify_waiters();
    }

    pub(super) fn connections(&self) -> Connections {
        Connections { opened: self.opened.load(Ordering::SeqCst), open: self.open.lock().len() }
    }

    pub(super) fn idle(&self) -> usize {
        self.open.lock().values().filter(|open| open.idle).count()
    }

    /// Counts a new connection and gives it its number and its orders.
    pub(super) fn opened(&self) -> (u64, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let id = self.opened.fetch_add(1, Ordering::SeqCst) + 1;
        self.open.lock().insert(id, Open { commands, idle: true });
        self.changed.notify_waiters();
        (id, receiver)
    }

    pub(super) fn set_idle(&self, id: u64, idle: bool) {
        if let Some(open) = self.open.lock().get_mut(&id) {
            open.idle = idle;
        }
        self.changed.notify_waiters();
    }

    pub(super) fn closed(&self, id: u64) {
        self.open.lock().remove(&id);
        self.changed.notify_waiters();
    }

    /// Gives `order` to every idle connection and waits until each has done it, at most `patience` in all. A
    /// connection that is asked something at that moment does it when it is idle again.
    pub(super) async fn order_idle(&self, order: &Order, patience: Duration) -> usize {
        let mut done = Vec::new();
        for open in self.open.lock().values().filter(|open| open.idle) {
            let (sender, receiver) = oneshot::channel();
            if open.commands.send((order.clone(), sender)).is_ok() {
                done.push(receiver);
            }
        }
        let count = done.len();
        let all = async {
            for receiver in done {
                // An error means that the connection ended by itself: nothing is left to do on it.
                drop(receiver.await);
            }
        };
        drop(tokio::time::timeout(patience, all).await);
        count
    }

    /// Waits until `is_so`, looking again after every change. False: `patience` is over.
    pub(super) async fn wait_until(&self, patience: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Enabled before the look, so that a change between the look and the wait is not missed.
                changed.as_mut().enable();
                if is_so(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, wait).await.is_ok()
    }
}
