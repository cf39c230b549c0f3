//! A real MinIO asking Countersign, Countersign asking a real OPA and publishing to a real Kafka.

use loadtest::laboratory::kafka::Kafka;
use loadtest::laboratory::minio::Minio;
use loadtest::laboratory::opa::Opa;
use loadtest::laboratory::{Laboratory, require};
use serde_json::Value;

use super::records::{self, Raw};
use super::{Countersign, Running};

pub const TOPIC: &str = "countersign.decisions";
const TOKEN: &str = "Bearer minio";

/// Fields are dropped in this order: whoever asks goes before whoever answers.
pub struct Stand {
    pub minio: Minio,
    pub proxy: Running,
    pub opa: Opa,
    pub kafka: Kafka,
}

impl Stand {
    /// `None` where this machine cannot run it, which has been said. `cache` is the lines of `[cache]`.
    pub async fn start(cache: &str) -> Option<Self> {
        let lab = Laboratory::open().unwrap();
        let kafka = require(lab.kafka().start().await)?;
        kafka.create_topic(TOPIC, 3).await.unwrap();
        let opa = require(lab.opa().decision_log().start().await)?;
        let setup = Countersign::asking(&opa.url("minio/allow")).token(TOKEN).cache(cache);
        let proxy = setup.kafka(&kafka.bootstrap(), TOPIC).start().await;
        let minio = require(lab.minio().plugin(&proxy.url(), Some(TOKEN)).start().await)?;
        Some(Self { minio, proxy, opa, kafka })
    }

    /// All records in Kafka, once it has as many as the spool; checked against schema and chain.
    pub async fn published(&self) -> Vec<Value> {
        published(&self.kafka, &self.proxy).await
    }
}

/// All records of the topic, once none is missing that the spool ever had. The proxy must be quiet.
pub async fn published(kafka: &Kafka, proxy: &Running) -> Vec<Value> {
    proxy.delivered().await;
    records::checked(in_kafka(kafka).await)
}

/// The topic as it is, partition by partition.
pub async fn in_kafka(kafka: &Kafka) -> Vec<Raw> {
    let records = kafka.records(TOPIC).await.unwrap();
    for record in &records {
        let header = ("content-type".to_owned(), b"application/cloudevents+json; charset=UTF-8".to_vec());
        assert_eq!(record.headers, [header]);
    }
    let raws: Vec<Raw> = records.iter().map(|record| Raw::new(&record.value)).collect();
    for (record, raw) in records.iter().zip(&raws) {
        let chain = raw.value["data"]["chain"]["id"].as_str().unwrap();
        assert_eq!(record.key.as_deref(), Some(chain.as_bytes()), "the key is the chain's id");
    }
    raws
}
