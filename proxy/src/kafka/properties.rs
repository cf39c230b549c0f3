//! Properties of librdkafka that nobody but us may set, and why: those that would break the promise that every decision is
//! published in order, those that point at foreign code or memory, and those that would do nothing here. Asked by the
//! configuration's check and by the commands that read.

/// Not even for reading. A name that ends or begins with `*` stands for all that begin or end so.
const FOR_ALL: &[(&str, &str)] = &[
    ("bootstrap.servers", "write `kafka.brokers`, or `--brokers`"),
    ("metadata.broker.list", "write `kafka.brokers`, or `--brokers`"),
    ("allow.auto.create.topics", "a topic made by accident has the wrong retention"),
    ("topic.blacklist", "a topic that is not seen can be neither written nor read"),
    ("test.mock*", "records would go to a broker that is none"),
    ("plugin.library.paths", "no foreign code is loaded"),
    ("interceptors", "no foreign code is loaded"),
    ("ssl.engine*", "no foreign code is loaded"),
    ("ssl.providers", "no foreign code is loaded"),
    ("ssl_*", "it is no text; the property with dots takes a file or PEM"),
    ("opaque", "it is an address in memory"),
    ("default_topic_conf", "it is an address in memory"),
    ("enabled_events", "events are not settings"),
    ("enable_sasl_queue", "tokens are asked for where this program answers"),
    ("internal.termination.signal", "signals end the process in order"),
    ("log.queue", "librdkafka's log goes into ours"),
    ("statistics.interval.ms", "nobody takes librdkafka's statistics, which then fill the memory"),
    ("api.version.request", "what brokers can do is asked of them; idempotence depends on it"),
    ("api.version.fallback.ms", "what brokers can do is asked of them; idempotence depends on it"),
    ("broker.version.fallback", "what brokers can do is asked of them; idempotence depends on it"),
    ("sasl.jaas.config", "it is Java's: write `sasl.username` and `sasl.password`, or `sasl.oauthbearer.config`"),
    ("sasl.login*", "it is Java's: write `sasl.username` and `sasl.password`, or `sasl.oauthbearer.config`"),
    ("ssl.truststore*", "it is Java's: write `ssl.ca.location`, a file in PEM"),
    ("ssl.keystore.type", "it is Java's: `ssl.keystore.location` takes PKCS #12 alone"),
    ("ssl.keystore.key", "it is Java's: write `ssl.key.location`, a file in PEM"),
    ("ssl.keystore.certificate.chain", "it is Java's: write `ssl.certificate.location`, a file in PEM"),
    ("sasl.kerberos*", "this build has no Kerberos"),
    (
        "enable.sasl.oauthbearer.unsecure.jwt",
        "a token that nobody signed proves nothing; see `sasl.oauthbearer.config`",
    ),
    ("sasl.oauthbearer.method", NO_OIDC),
    ("sasl.oauthbearer.client*", NO_OIDC),
    ("sasl.oauthbearer.token.endpoint.url", NO_OIDC),
    ("sasl.oauthbearer.scope", NO_OIDC),
    ("sasl.oauthbearer.extensions", NO_OIDC),
    ("sasl.oauthbearer.grant.type", NO_OIDC),
    ("sasl.oauthbearer.assertion*", NO_OIDC),
    ("sasl.oauthbearer.metadata*", NO_OIDC),
    ("*_cb", "callbacks are not settings"),
    ("*.cb", "callbacks are not settings"),
];

const NO_OIDC: &str = "tokens are not fetched from an identity provider: let an agent write one to a file, and set `sasl.oauthbearer.config` \
     to `token_file=PATH`";

/// Where records are published.
const FOR_PUBLISHING: &[(&str, &str)] = &[
    ("acks", "a record counts as published only when all replicas in sync have it"),
    ("request.required.acks", "a record counts as published only when all replicas in sync have it"),
    ("enable.idempotence", "without it a retry can publish twice or out of order"),
    ("enable.gapless.guarantee", "a fatal error is answered by a new producer that begins at the cursor"),
    ("message.timeout.ms", "a record that times out would be lost"),
    ("delivery.timeout.ms", "a record that times out would be lost"),
    ("retries", "a record that is given up would be lost"),
    ("message.send.max.retries", "a record that is given up would be lost"),
    ("max.in.flight*", "more would let records change their order"),
    ("transactional.id", "a transaction could take back what counted as published"),
    ("transaction.timeout.ms", "there are no transactions"),
    ("queue.buffering.max.messages", "the publisher sizes its window itself; the spool is the buffer"),
    ("queue.buffering.max.kbytes", "the publisher sizes its window itself; the spool is the buffer"),
    ("batch.size", "batches are as large as the topic takes, which the publisher finds out"),
    ("batch.num.messages", "batches are as large as the topic takes, which the publisher finds out"),
    ("partitioner*", "a chain stays in the partition it was opened in"),
    ("queuing.strategy", "anything but first in, first out would let records change their order"),
    ("msg_order_cmp", "records keep the order of their chain"),
    ("message.max.bytes", "a record that is too large is published as a stub, for which its size must be known"),
    ("delivery.report.only.error", "the cursor follows the acknowledgements"),
];

/// Why this property cannot be set where records are published; `None` if it can.
pub fn refused(name: &str) -> Option<&'static str> {
    find(FOR_PUBLISHING, name).or_else(|| refused_for_reading(name))
}

/// The same for a command that only reads.
pub fn refused_for_reading(name: &str) -> Option<&'static str> {
    find(FOR_ALL, name)
}

/// librdkafka takes a topic's property also with `topic.` before its name.
fn find(list: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    matching(list, name).or_else(|| matching(list, name.strip_prefix("topic.")?))
}

fn matching(list: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    let matches = |pattern: &str| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(prefix), _) => name.starts_with(prefix),
        (None, Some(suffix)) => name.ends_with(suffix),
        (None, None) => name == pattern,
    };
    list.iter().find(|(pattern, _)| matches(pattern)).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weakens_delivery_is_refused() {
        for name in [
            "acks",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "partitioner",
            "dr_cb",
            "retries",
            "topic.blacklist",
            "interceptors",
            "enabled_events",
            "batch.size",
            "test.mock.num.brokers",
            "topic.acks",
            "topic.message.timeout.ms",
            "topic.partitioner",
            "topic.opaque",
            "enable_sasl_queue",
        ] {
            assert!(refused(name).is_some(), "{name}");
        }
        for name in [
            "linger.ms",
            "security.protocol",
            "sasl.password",
            "sasl.oauthbearer.config",
            "compression.codec",
            "retry.backoff.ms",
            "ssl.ca.location",
            "ssl.key.pem",
            "request.timeout.ms",
            "topic.metadata.refresh.interval.ms",
        ] {
            assert!(refused(name).is_none(), "{name}");
        }
    }

    #[test]
    fn names_of_java_lead_to_ours() {
        for (java, ours) in [
            ("sasl.jaas.config", "`sasl.password`"),
            ("ssl.truststore.password", "`ssl.ca.location`"),
            ("ssl.keystore.key", "`ssl.key.location`"),
            ("ssl.keystore.type", "PKCS #12"),
        ] {
            assert!(refused_for_reading(java).is_some_and(|why| why.contains(ours)), "{java}");
        }
        assert!(refused("ssl.keystore.location").is_none() && refused("ssl.keystore.password").is_none());
    }

    #[test]
    fn readers_lose_nothing_by_what_only_publishing_must_not_set() {
        assert!(refused_for_reading("acks").is_none() && refused_for_reading("plugin.library.paths").is_some());
        assert!(refused_for_reading("topic.acks").is_none() && refused_for_reading("topic.opaque").is_some());
        assert!(refused_for_reading("enable_sasl_queue").is_some());
    }
}
