//! Whose turn the writer is: which records are taken at once by whoever brings them, and what becomes of everybody else
//! when such a turn ends badly. No thread of the writer's runs here but where a test says so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot::error::TryRecvError;

use super::unreadable::Bench;
use crate::audit::shared::Shared;
use crate::audit::turns::Turns;
use crate::audit::writer::{Append, Item};
use crate::policy::verdict::{Durability, Reason};

struct Table {
    turns: Arc<Turns>,
    queue: flume::Sender<Item>,
    items: flume::Receiver<Item>,
    bench: Rest,
}

/// What is left of a bench whose writer has its turns.
struct Rest {
    shared: Arc<Shared>,
    disk: super::disk::Disk,
}

/// An open chain, and a record for each level.
fn table<const N: usize>(levels: [Durability; N]) -> (Table, [(Append, super::unreadable::Told); N]) {
    let (bench, _) = Bench::with_five();
    let records = levels.map(|level| match bench.item(level, 100) {
        (Item::Record(append), told) => (append, told),
        (Item::Wake | Item::Close, _) => unreachable!("a record was asked for"),
    });
    let (queue, items) = flume::unbounded();
    let turns = Arc::new(Turns::new(bench.writer, bench.shared.clone(), &queue));
    (Table { turns, queue, items, bench: Rest { shared: bench.shared, disk: bench.disk } }, records)
}

fn on_two_threads<T>(work: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async { work() })
}

#[test]
fn a_record_that_is_alone_and_needs_no_sync_is_taken_at_once() {
    let (table, [(first, mut told), (second, mut also)]) = table([Durability::Written; 2]);
    on_two_threads(|| assert!(table.turns.begin().at_once(first).is_ok()));
    let seq = told.try_recv().unwrap().unwrap().seq();
    // The thread is told once that it has to come back for the sync.
    assert!(matches!(table.items.drain().collect::<Vec<_>>()[..], [Item::Wake]));
    on_two_threads(|| assert!(table.turns.begin().at_once(second).is_ok()));
    assert_eq!(also.try_recv().unwrap().unwrap().seq(), seq + 1);
    assert_eq!(table.items.len(), 0, "it knows");
}

#[test]
fn what_must_be_synced_is_left_to_the_thread() {
    let (table, records) = table([Durability::Synced, Durability::Acknowledged]);
    for (append, mut told) in records {
        let back = on_two_threads(|| table.turns.begin().at_once(append));
        assert!(back.is_err() && told.try_recv().unwrap_err() == TryRecvError::Empty);
    }
}

#[test]
fn one_of_several_is_left_to_the_thread() {
    let (table, [(append, _told), (again, _also)]) = table([Durability::Written; 2]);
    on_two_threads(|| {
        let first = table.turns.begin();
        let append = table.turns.begin().at_once(append).expect_err("it was not alone");
        drop(first);
        assert!(table.turns.begin().at_once(append).is_ok(), "it is alone again");
    });
    // On a runtime with one thread nobody else could be served meanwhile.
    let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(single.block_on(async { table.turns.begin().at_once(again) }).is_err());
}

/// Otherwise a disk that hangs would hold answers beyond their deadline.
#[test]
fn while_the_thread_hangs_in_a_sync_nobody_waits_for_it() {
    let (table, [(synced, _later), (written, _told)]) = table([Durability::Synced, Durability::Written]);
    let gate = super::disk::Gate::default();
    table.bench.disk.0.lock().gate = Some(gate.clone());
    let (turns, items) = (table.turns.clone(), table.items.clone());
    let thread = std::thread::spawn(move || turns.run(&items));
    table.queue.send(Item::Record(synced)).unwrap();
    // It has the record, and then the turn.
    while !table.queue.is_empty() || !table.turns.is_taken() {
        std::thread::yield_now();
    }
    assert!(on_two_threads(|| table.turns.begin().at_once(written)).is_err());
    *gate.0.lock() = true;
    gate.1.notify_all();
    table.queue.send(Item::Close).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_turn_that_panics_ends_the_spool_for_everybody() {
    let (table, [(append, mut told), (next, mut refused)]) = table([Durability::Written; 2]);
    table.bench.disk.0.lock().panics = true;
    let turn = || on_two_threads(|| table.turns.begin().at_once(append).is_ok());
    assert!(catch_unwind(AssertUnwindSafe(turn)).is_err());
    assert!(told.try_recv().is_err(), "no receipt");
    assert!(!table.bench.shared.available.load(Ordering::Acquire));
    let trouble = table.bench.shared.trouble.lock().clone().unwrap();
    assert!(trouble.detail.contains("restart the process"), "{}", trouble.detail);
    // The next one goes the ordinary way, and is refused and counted there.
    let next = on_two_threads(|| table.turns.begin().at_once(next)).unwrap_err();
    table.queue.send(Item::Record(next)).unwrap();
    table.turns.run(&table.items);
    assert_eq!(refused.try_recv().unwrap().unwrap_err(), Reason::AuditUnavailable);
    assert_eq!(table.bench.shared.take_audit_refusals().audit_unavailable, 1);
}
