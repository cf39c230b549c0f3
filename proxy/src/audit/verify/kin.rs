//! Which chains belong together: those of an instance, in the order of time; and who names whom as the one before. Made once
//! everything has been seen. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use super::thread::Thread;
use super::work;

#[derive(Debug)]
pub struct Kin {
    by_id: HashMap<Arc<str>, usize>,
    /// Of each instance, the oldest first.
    by_instance: HashMap<String, Vec<usize>>,
    /// By chain, those of the same instance that name it as the one before.
    successors: HashMap<String, Vec<usize>>,
    /// When what is there of an instance begins, by instance and partition.
    begins: HashMap<String, HashMap<i32, String>>,
}

impl Kin {
    pub fn of(threads: &[Thread]) -> Self {
        let mut kin = Self {
            by_id: HashMap::new(),
            by_instance: HashMap::new(),
            successors: HashMap::new(),
            begins: HashMap::new(),
        };
        for (at, thread) in threads.iter().enumerate() {
            let instance = instance_of(&thread.id);
            kin.by_id.insert(thread.id.clone(), at);
            kin.by_instance.entry(instance.to_owned()).or_default().push(at);
            if let Some(previous) = thread.previous.as_ref().filter(|p| instance_of(&p.id) == instance) {
                kin.successors.entry(previous.id.clone()).or_default().push(at);
            }
            let begins = kin.begins.entry(instance.to_owned()).or_default();
            let first = begins.entry(thread.partition).or_insert_with(|| thread.first_time.clone());
            if thread.first_time < *first {
                first.clone_from(&thread.first_time);
            }
        }
        let time = |at: &usize| threads.get(*at).map(|t| t.first_time.as_str());
        kin.by_instance.values_mut().for_each(|all| all.sort_by(|a, b| time(a).cmp(&time(b))));
        kin
    }

    pub fn at(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The oldest first.
    pub fn of_instance(&self, instance: &str) -> &[usize] {
        self.by_instance.get(instance).map_or(&[], Vec::as_slice)
    }

    pub fn instances(&self) -> impl Iterator<Item = &String> {
        self.by_instance.keys()
    }

    pub fn successors(&self, id: &str) -> &[usize] {
        work::step();
        self.successors.get(id).map_or(&[], Vec::as_slice)
    }

    /// The first of the instance's chains that begins after this time.
    pub fn after<'t>(&self, threads: &'t [Thread], instance: &str, time: &str) -> Option<&'t Thread> {
        work::step();
        let all = self.of_instance(instance);
        let first = all.partition_point(|at| threads.get(*at).is_some_and(|t| t.first_time.as_str() <= time));
        threads.get(*all.get(first)?)
    }

    /// When what is there of an instance in a partition begins; `None` where nothing is.
    pub fn begins(&self, instance: &str, partition: i32) -> Option<&str> {
        self.begins.get(instance)?.get(&partition).map(String::as_str)
    }

    /// Whether no chain of the same instance in the same partition is older.
    pub fn is_oldest_there(&self, thread: &Thread) -> bool {
        self.begins(instance_of(&thread.id), thread.partition).is_none_or(|begins| thread.first_time.as_str() <= begins)
    }
}

/// A chain's id is its instance and its epoch.
pub fn instance_of(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(instance, _)| instance)
}
