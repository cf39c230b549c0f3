//! What a proved Countersign says of itself on `/metrics`.

use anyhow::{Context, ensure};

use super::countersign::Proved;
use crate::laboratory::http;

/// All series of a metric together.
pub(super) async fn sum(proved: &Proved, metric: &str) -> anyhow::Result<f64> {
    let answer = http::get(&format!("http://{}/metrics", proved.countersign.admin())).await?;
    summed(&answer.body, metric).with_context(|| format!("no series of `{metric}`"))
}

fn summed(text: &str, metric: &str) -> Option<f64> {
    let series = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let rest = if rest.starts_with('{') { rest.split_once("} ")?.1 } else { rest.strip_prefix(' ')? };
        rest.split(' ').next()?.parse::<f64>().ok()
    });
    series.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Waits until a metric is what it is to be.
pub(super) async fn until(proved: &Proved, metric: &str, is_so: impl Fn(f64) -> bool) -> anyhow::Result<f64> {
    let until = std::time::Instant::now() + super::PATIENCE;
    loop {
        let value = sum(proved, metric).await?;
        if is_so(value) {
            return Ok(value);
        }
        let fine = proved.countersign.is_running() && std::time::Instant::now() < until;
        ensure!(fine, "`{metric}` stays at {value}\n{}", proved.countersign.log_tail());
        tokio::time::sleep(super::LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed() {
        let text = "# HELP a x\na{b=\"1\"} 2\na{b=\"} \"} 3.5 # {trace_id=\"x\"} 1\nab 9\nc 4 1700000000\n";
        assert_eq!(summed("a{b=\"1\"} 2\nab 9\na{b=\"2\"} 3.5 # {t=\"x\"} 1\n", "a"), Some(5.5));
        assert_eq!(summed(text, "c"), Some(4.0));
        assert_eq!(summed(text, "d"), None);
    }
}
