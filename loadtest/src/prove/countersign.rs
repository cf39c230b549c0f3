//! Countersign as a contender: the binary with its defaults, a spool on a disk, one authorizer behind it.
//!
//! No Kafka unless a scenario adds it: what is proved is the path of a decision; shipping has scenarios of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::laboratory::Laboratory;
use crate::laboratory::countersign::Countersign;
use crate::load::{Load, Mix};
use crate::question::Question;

/// How long it may take from its start to its first allow.
const PATIENCE: Duration = Duration::from_secs(30);
/// `statfs` type of a file system in memory (`TMPFS_MAGIC` of `linux/magic.h`).
const TMPFS: u64 = 0x0102_1994;

/// A Countersign that allows, and the directory of its spool, which goes with it.
#[derive(Debug)]
pub(super) struct Proved {
    pub(super) countersign: Countersign,
    pub(super) spool: TempDir,
}

/// Starts `binary` in front of the authorizer at `url` and waits until it has allowed `question`.
pub(super) async fn start(
    lab: &Laboratory,
    binary: &Path,
    url: &str,
    spool_in: &Path,
    question: &Question,
) -> anyhow::Result<Proved> {
    start_with(lab, binary, url, spool_in, question, "").await
}

/// The same with more tables in its configuration.
pub(super) async fn start_with(
    lab: &Laboratory,
    binary: &Path,
    url: &str,
    spool_in: &Path,
    question: &Question,
    tables: &str,
) -> anyhow::Result<Proved> {
    start_as(lab, binary, spool_in, question, &Setting { url, durability: "synced", tables }).await
}

/// What differs between the Countersigns of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    /// Of the authorizer, which is called `constant`.
    pub(super) url: &'a str,
    pub(super) durability: &'a str,
    /// More of its configuration.
    pub(super) tables: &'a str,
}

/// The same with another durability.
pub(super) async fn start_as(
    lab: &Laboratory,
    binary: &Path,
    spool_in: &Path,
    question: &Question,
    setting: &Setting<'_>,
) -> anyhow::Result<Proved> {
    on_disk(spool_in)?;
    // `tempfile` makes it readable by its owner only, as a spool must be.
    let spool = tempfile::Builder::new().prefix("countersign-prove-").tempdir_in(spool_in);
    let spool = spool.with_context(|| format!("no spool can be made in `{}`", spool_in.display()))?;
    let countersign = lab.countersign(binary).config(&config(setting, spool.path())?).start().await?;
    until_allowed(&countersign, question).await?;
    Ok(Proved { countersign, spool })
}

/// A sync costs nothing in memory: figures from there would be about something else.
fn on_disk(directory: &Path) -> anyhow::Result<()> {
    let kind = rustix::fs::statfs(directory).with_context(|| format!("cannot look at `{}`", directory.display()))?;
    let kind = u64::try_from(kind.f_type).unwrap_or(0);
    ensure!(kind != TMPFS, "`{}` is in memory, where a sync costs nothing: name another", directory.display());
    Ok(())
}

/// Defaults but for what a run on this machine needs. `{port}` and `{admin_port}` are the laboratory's.
fn config(setting: &Setting<'_>, spool: &Path) -> anyhow::Result<String> {
    let Setting { url, durability, tables } = setting;
    // JSON's strings are TOML's basic strings.
    let spool = serde_json::to_string(spool.to_str().context("the spool's path is no UTF-8")?)?;
    let url = serde_json::to_string(url)?;
    Ok(format!(
        "instance = \"prove\"\n\
         [listen]\naddress = \"127.0.0.1:{{port}}\"\n\
         [admin]\naddress = \"127.0.0.1:{{admin_port}}\"\n\
         [[authorizer]]\nname = \"constant\"\nurl = {url}\n\
         [audit]\nspool = {spool}\ndurability = \"{durability}\"\nmax_size = \"32GiB\"\n\
         [log]\nlevel = \"warn\"\n{tables}"
    ))
}

/// It listens before its spool is ready, and denies until then.
async fn until_allowed(countersign: &Countersign, question: &Question) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        // Exactly one question.
        let one = Load::new(countersign.url()).connections(1).rate(1000.0).duration(Duration::from_millis(1));
        let report = one.mix(Mix::of(question.clone())).run().await?;
        if report.allow == 1 {
            return Ok(());
        }
        if Instant::now() > until || !countersign.is_running() {
            bail!("Countersign allowed nothing within {PATIENCE:?}:\n{report}\n{}", countersign.log_tail());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_in_memory_is_refused() {
        assert!(on_disk(Path::new("/var/tmp")).is_ok());
        assert!(on_disk(Path::new("/nowhere")).is_err());
        if let Ok(true) = std::fs::read_to_string("/proc/mounts").map(|mounts| mounts.contains("tmpfs /dev/shm ")) {
            let error = on_disk(Path::new("/dev/shm")).unwrap_err().to_string();
            assert!(error.contains("is in memory"), "{error}");
        }
    }

    #[test]
    fn paths_are_quoted() {
        let setting = Setting { url: "http://h/", durability: "written", tables: "[x]\n" };
        let config = config(&setting, Path::new("/a \"b\"")).unwrap();
        assert!(config.contains("durability = \"written\"") && config.ends_with("[x]\n"), "{config}");
        assert!(config.contains(r#"spool = "/a \"b\"""#), "{config}");
        assert!(config.contains("address = \"127.0.0.1:{port}\""), "{config}");
    }
}
