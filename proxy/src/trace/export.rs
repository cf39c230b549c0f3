//! The way out for kept spans: a bounded queue, the SDK's batch processor, and a count of everything that is lost on
//! the way. Never waits for the collector, except at shutdown and then for a limit. Called by `trace`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter as ExportSpans, SpanProcessor,
};
use opentelemetry_semantic_conventions::attribute as semconv;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::client::{Collector, traces_uri};
use super::{Options, StartError};
use crate::metrics::Metrics;

/// Spans that wait or are on their way. About 1 KiB each.
const QUEUE: usize = 8192;
const BATCH: usize = 512;
/// How long a span may wait for others.
const DELAY: Duration = Duration::from_secs(1);

/// Owns the batch processor's thread and the runtime its client works on.
#[derive(Debug)]
pub(super) struct Export {
    processor: BatchSpanProcessor,
    queue: Arc<Queue>,
    closed: AtomicBool,
    runtime: Mutex<Option<Runtime>>,
}

impl Export {
    pub(super) fn start(options: &Options, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let uri = traces_uri(&options.endpoint)?;
        let headers = options.headers.clone();
        let client = Collector::new(runtime.handle().clone(), &uri, headers, options.timeout)?;
        let inner = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(uri.to_string())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(options.timeout)
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|error| StartError::Exporter(error.to_string()))?;
        let queue = Arc::new(Queue { waiting: AtomicUsize::new(0), failing: AtomicBool::new(false), metrics });
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let counted = Counted { inner, queue: Arc::clone(&queue) };
        let mut processor = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
        processor.set_resource(&resource(options));
        Ok(Self { processor, queue, closed: AtomicBool::new(false), runtime: Mutex::new(Some(runtime)) })
    }

    /// Hands a span over, or counts it as lost where there is no room or nobody left to take it.
    pub(super) fn offer(&self, span: SpanData) {
        if self.closed.load(Ordering::Acquire) || !self.queue.enter() {
            self.queue.metrics.spans_dropped(1);
        } else {
            self.processor.on_end(span);
            // The processor may have ended in between, and would not tell: rather lost and counted than forgotten.
            if self.closed.load(Ordering::Acquire) {
                let gone = self.queue.leave(1);
                self.queue.count_lost(gone);
            }
        }
    }

    pub(super) fn shutdown(&self, limit: Duration) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let ended = self.processor.shutdown_with_timeout(limit);
        let lost = self.queue.abandon();
        if ended.is_err() || lost > 0 {
            tracing::warn!(spans = lost, "the collector did not take the last spans in time");
        }
        self.stop_runtime();
    }

    /// Ends a request that hangs; the processor's thread then finds that nothing can be sent and ends as well.
    fn stop_runtime(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Export {
    /// A runtime may not be dropped where others run on one.
    fn drop(&mut self) {
        self.stop_runtime();
    }
}

fn resource(options: &Options) -> Resource {
    Resource::builder()
        .with_service_name("countersign")
        .with_attribute(KeyValue::new(semconv::SERVICE_VERSION, options.version.clone()))
        .with_attribute(KeyValue::new(semconv::SERVICE_INSTANCE_ID, options.instance.clone()))
        .build()
}

/// How many spans are between us and the collector. The SDK drops from its own queue without telling anybody, so
/// ours is never allowed to fill it.
#[derive(Debug)]
struct Queue {
    waiting: AtomicUsize,
    /// The last export failed; so that an outage is one line of log, not one a second.
    failing: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Queue {
    fn enter(&self) -> bool {
        let room = |waiting: usize| (waiting < QUEUE).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok()
    }

    /// Takes up to `spans` out; says how many there were, which is fewer after [`Queue::abandon`].
    fn leave(&self, spans: usize) -> usize {
        let less = |waiting: usize| Some(waiting.saturating_sub(spans));
        match self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, less) {
            Ok(before) | Err(before) => before.min(spans),
        }
    }

    fn abandon(&self) -> usize {
        let lost = self.waiting.swap(0, Ordering::AcqRel);
        self.count_lost(lost);
        lost
    }

    fn count_lost(&self, spans: usize) {
        self.metrics.spans_dropped(u64::try_from(spans).unwrap_or(u64::MAX));
    }

    fn settle(&self, spans: usize, result: &OTelSdkResult) {
        let gone = self.leave(spans);
        match result {
            Ok(()) => {
                if self.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.count_lost(gone);
                if !self.failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(error = %plain(error), "spans are being dropped: the collector does not take them");
                }
            }
        }
    }
}

fn plain(error: &OTelSdkError) -> String {
    match error {
        OTelSdkError::InternalFailure(why) => why.clone(),
        OTelSdkError::AlreadyShutdown | OTelSdkError::Timeout(_) => error.to_string(),
    }
}

/// An exporter that says what it lost.
#[derive(Debug)]
struct Counted {
    inner: SpanExporter,
    queue: Arc<Queue>,
}

impl ExportSpans for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        self.queue.settle(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
