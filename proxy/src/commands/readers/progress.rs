//! How far a command is that reads for long.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Where;

/// On a terminal only. How much there is, is known of a file.
pub fn progress(place: &Where) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let size = match place {
        Where::File(path) => std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|m| m.len()),
        Where::Kafka { .. } | Where::Spool(_) => None,
    };
    let bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let form = if size.is_some() {
        "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
    } else {
        "{spinner} {bytes}, {bytes_per_sec}"
    };
    bar.set_style(ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
