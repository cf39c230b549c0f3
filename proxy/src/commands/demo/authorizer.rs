//! The demo's authorizer: what a policy of a few lines would decide, over HTTP, in the shape OPA answers. Not for any
//! other use: it lets root do everything.

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde::Deserialize;

/// Larger questions than the demo sends are cut off.
const MAX_BODY: usize = 1024 * 1024;

/// Root may do everything; alice may work under `home/alice/` of `reports`; nobody else anything.
#[derive(Debug)]
pub struct SampleAuthorizer;

#[derive(Deserialize)]
struct Question {
    input: Input,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    account: String,
    action: String,
    bucket: String,
    object: String,
    owner: bool,
    deny_only: bool,
    #[serde(default)]
    conditions: std::collections::HashMap<String, Vec<String>>,
}

impl Input {
    fn allowed(&self) -> bool {
        let prefix = self.conditions.get("prefix").and_then(|values| values.first()).map_or("", String::as_str);
        let home = "home/alice/";
        match self.action.as_str() {
            _ if self.owner || self.deny_only => true,
            _ if self.account != "alice" || self.bucket != "reports" => false,
            "s3:GetBucketLocation" | "s3:HeadBucket" => true,
            "s3:ListBucket" => prefix.starts_with(home),
            _ => self.object.starts_with(home),
        }
    }
}

#[async_trait]
impl ServeHttp for SampleAuthorizer {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let body = match read(session).await {
            Some(body) => body,
            None => return answer(StatusCode::BAD_REQUEST, "{}".to_owned()),
        };
        match serde_json::from_slice::<Question>(&body) {
            Ok(question) => {
                answer(StatusCode::OK, format!("{{\"result\":{{\"allow\":{}}}}}", question.input.allowed()))
            }
            Err(_) => answer(StatusCode::BAD_REQUEST, "{}".to_owned()),
        }
    }
}

async fn read(session: &mut ServerSession) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = session.read_request_body().await.ok()? {
        if body.len() + part.len() > MAX_BODY {
            return None;
        }
        body.extend_from_slice(&part);
    }
    Some(body)
}

fn answer(status: StatusCode, body: String) -> Response<Vec<u8>> {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    let length = response.body().len();
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
