//! Answers that are taken back on somebody's word: the purge and its record. Who may is decided at the door, by `admin`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::audit::envelope::{micros, rfc3339};
use crate::audit::lifecycle::Event;
use crate::decide::purge::Rule;
use crate::pipeline::Pipeline;
use crate::policy::limited::limited;

/// Longest recorded name of a bucket (bytes).
const MAX_BUCKET: usize = 256;

impl Pipeline {
    /// Every decision that begins when this has returned is made without the answers that the rule takes back. The record
    /// is written as soon as the spool can; the purge does not wait for that.
    pub fn purge(&self, rule: Rule, client: &str, peer: Option<IpAddr>) {
        let (account, bucket, prefix) = match &rule {
            Rule::Everything => (None, None, None),
            Rule::Matching { account, bucket, prefix } => (account.as_deref(), bucket.as_deref(), prefix.as_deref()),
        };
        let in_force = self.in_force.load();
        let privacy = &in_force.options.privacy;
        // Named and left out is not the same as not named.
        let hidden = |shown: Option<String>| shown.unwrap_or_default();
        let event = Event::CachePurged {
            client: client.to_owned(),
            peer: peer.and_then(|peer| privacy.reported_ip(&peer.to_string()).map(Cow::into_owned)),
            account: account.map(|name| hidden(privacy.account(name).map(Cow::into_owned))),
            bucket: bucket.map(|name| limited(name, MAX_BUCKET).into_owned()),
            prefix: prefix.map(|prefix| hidden(privacy.object(prefix).map(Cow::into_owned))),
            // Before the purge itself: the record says rather too little than too much.
            at: rfc3339(micros(SystemTime::now())),
        };
        let mut purged = self.in_force.load_full();
        loop {
            purged.decider.purge(rule.clone());
            // A reload in between has a decider of its own, which may have answers from before this returns.
            let now = self.in_force.load_full();
            if Arc::ptr_eq(&now.decider, &purged.decider) {
                break;
            }
            purged = now;
        }
        self.spool.record(event);
    }
}
