//! Where spans go: `[otlp]`. What is written here comes before the standard `OTEL_*` variables, which come before the
//! defaults; without `[otlp]` nothing is traced, whatever the variables say. Called by `check`.

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;

use super::authorizers::url;
use super::kafka::property_value;
use super::shown;
use crate::config::meant::{Otlp, Property, Url};
use crate::config::secret::Use;
use crate::config::written::{At, Table};

/// Where collectors take spans, below the endpoint. OTLP 1.x, "OTLP/HTTP Request".
const TRACES: &str = "/v1/traces";

/// `None` also where `OTEL_SDK_DISABLED` says so.
pub fn otlp(table: &Table<'_>) -> Option<Otlp> {
    let endpoint = endpoint(table);
    let headers = headers(table);
    let (sample, always, slow) = (table.get("sample"), table.words("always"), table.get("slow"));
    if (table.page.env)("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        table.page.warn(&table.span, "nothing is traced: `OTEL_SDK_DISABLED` is `true`");
        return None;
    }
    Some(Otlp { endpoint: endpoint?, headers, sample: sample?, always: always?, slow: slow? })
}

fn endpoint(table: &Table<'_>) -> Option<Url> {
    if table.has("endpoint") {
        return url(table, "endpoint").map(below);
    }
    // The variable for traces is used as it is, the general one is a base. An empty one counts as unset.
    for (name, complete) in [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", true), ("OTEL_EXPORTER_OTLP_ENDPOINT", false)] {
        let Some(text) = (table.page.env)(name).filter(|text| !text.is_empty()) else { continue };
        return match Url::parse(&text) {
            Ok(url) if complete => Some(url),
            Ok(url) => Some(below(url)),
            Err(why) => {
                table.page.error(&table.span, format!("the URL of environment variable `{name}` {why}"));
                None
            }
        };
    }
    url(table, "endpoint").map(below)
}

/// The endpoint with the path of traces, unless it is written already. A query stays behind it.
fn below(mut base: Url) -> Url {
    let (path, query) = base.target.split_at(base.target.find('?').unwrap_or(base.target.len()));
    let trimmed = path.trim_end_matches('/');
    if !trimmed.ends_with(TRACES) {
        base.target = format!("{trimmed}{TRACES}{query}");
    }
    base
}

fn headers(table: &Table<'_>) -> Vec<Property> {
    if table.has("headers") {
        let written = table.properties("headers");
        return written.into_iter().filter_map(|(name, value)| header(table, &name, value)).collect();
    }
    let variables = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
    let found = variables.iter().find_map(|name| Some((name, (table.page.env)(name).filter(|text| !text.is_empty())?)));
    let Some((variable, text)) = found else { return Vec::new() };
    // `key=value,key=value`, values percent-encoded: the OpenTelemetry specification, "Specifying headers".
    let mut headers = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = percent_encoding::percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        if fits(name.trim(), &decoded) {
            headers.push(Property { name: name.trim().to_ascii_lowercase(), value: SecretString::from(decoded) });
        } else {
            table.page.error(&table.span, format!("environment variable `{variable}` is not a list of `name=value`"));
        }
    }
    headers
}

fn header(table: &Table<'_>, name: &At<String>, value: &toml::Spanned<toml::de::DeValue<'_>>) -> Option<Property> {
    let value = property_value(table, "otlp.headers", name, value, Use::Header)?;
    if !fits(name, secrecy::ExposeSecret::expose_secret(&value)) {
        table.page.error(&name.span, format!("`{}` is not an HTTP header with a value that fits", shown(name)));
        return None;
    }
    Some(Property { name: name.to_ascii_lowercase(), value })
}

fn fits(name: &str, value: &str) -> bool {
    name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok() && !value.is_empty()
}
