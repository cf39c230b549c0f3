//! Why MinIO asked, and what kind of thing an action does: both from the question alone. Not whether it is allowed.
//! Called by the record, metrics and traces.

use crate::policy::request::Request;

/// Why MinIO asked. For all but [`Purpose::Access`] and [`Purpose::DenyCheck`] a deny is not an outcome: MinIO goes on
/// and shows less, or asks something else.
///
/// A client can forge some of the signs (a query parameter, a header), which is why a deny of these is kept apart from
/// other denies, but never out of sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// "Does an explicit deny apply?" (`denyOnly`); an allow to it grants nothing.
    DenyCheck,
    /// Whether the answer to a GET, HEAD or PUT may show or set object lock metadata: asked with each of them.
    MetadataProbe,
    /// Whether a bucket is shown in a list of buckets.
    ListFilter,
    /// DeleteObjects asks once without a key and ignores the answer.
    Preflight,
    /// A deny makes MinIO ask about something narrower.
    Fallthrough,
    /// The caller wants exactly this.
    Access,
}

impl Purpose {
    pub const ALL: [Self; 6] =
        [Self::DenyCheck, Self::MetadataProbe, Self::ListFilter, Self::Preflight, Self::Fallthrough, Self::Access];

    pub fn of(request: &Request) -> Self {
        if request.deny_only {
            return Self::DenyCheck;
        }
        let without = |name| !request.has_condition(name);
        match request.action.as_str() {
            "s3:GetObjectRetention" if without("retention") => Self::MetadataProbe,
            "s3:GetObjectLegalHold" if without("legal-hold") => Self::MetadataProbe,
            "s3:PutObjectLegalHold" if without("legal-hold") && without("Object-Lock-Legal-Hold") => {
                Self::MetadataProbe
            }
            "s3:ListBucket" | "s3:GetBucketLocation" if filters_a_list(request) => Self::ListFilter,
            "s3:DeleteObject" if request.object.is_empty() => Self::Preflight,
            "s3:ListAllMyBuckets" | "s3:HeadBucket" => Self::Fallthrough,
            _ => Self::Access,
        }
    }

    /// Whether a deny is no outcome, and stays out of denial rates.
    pub const fn advisory(self) -> bool {
        match self {
            Self::MetadataProbe | Self::ListFilter | Self::Preflight | Self::Fallthrough => true,
            Self::DenyCheck | Self::Access => false,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DenyCheck => "deny_check",
            Self::MetadataProbe => "metadata_probe",
            Self::ListFilter => "list_filter",
            Self::Preflight => "preflight",
            Self::Fallthrough => "fallthrough",
            Self::Access => "access",
        }
    }
}

/// MinIO sets these two as headers of its own; a client's listing has them as query parameters in lower case.
fn filters_a_list(request: &Request) -> bool {
    request.condition("Prefix") == [""] && request.condition("Delimiter") == ["/"]
}

/// What kind of thing an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActionClass {
    /// Content, tags or lock state of an object.
    Read,
    /// The same, changed. Also giving up an unfinished upload: no object goes away by it.
    Write,
    /// An object, a version, its tags or a bucket goes away; also the right to delete what is retained.
    Delete,
    /// Which buckets, objects and uploads there are; also being told of them as they come. A bucket's location is
    /// here, because MinIO asks it to decide whether a bucket is shown.
    List,
    /// Settings of a bucket or the server, read or changed; creating a bucket.
    Config,
    /// Users, groups, policies, keys.
    Iam,
    /// Keys that encrypt.
    Kms,
}

impl ActionClass {
    pub const ALL: [Self; 7] = [Self::Read, Self::Write, Self::Delete, Self::List, Self::Config, Self::Iam, Self::Kms];

    /// The class of an action as MinIO writes it, `service:Verb…`. An action that is not known is classed by its verb.
    pub fn of(action: &str) -> Self {
        match action.split_once(':') {
            Some(("kms", _)) => Self::Kms,
            Some(("admin", name)) => Self::of_admin(name),
            Some((_, name)) => Self::of_s3(name),
            None => Self::of_s3(action),
        }
    }

    fn of_admin(name: &str) -> Self {
        const IAM: [&str; 7] = ["User", "Group", "Polic", "ServiceAccount", "TemporaryAccount", "AccessKey", "IAM"];
        if name.starts_with("KMS") {
            return Self::Kms;
        }
        if IAM.iter().any(|word| name.contains(word)) { Self::Iam } else { Self::Config }
    }

    fn of_s3(name: &str) -> Self {
        match name {
            "HeadBucket" | "GetBucketLocation" | "ListenNotification" | "ListenBucketNotification" => Self::List,
            "DeleteBucket" | "ForceDeleteBucket" | "ReplicateDelete" | "BypassGovernanceRetention" => Self::Delete,
            "ReplicateObject" | "ReplicateTags" | "RestoreObject" | "AbortMultipartUpload" => Self::Write,
            _ => Self::by_verb(name),
        }
    }

    fn by_verb(name: &str) -> Self {
        let verb = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
        if verb(&["List"]) {
            Self::List
        } else if !name.contains("Object") || name.contains("Bucket") {
            Self::Config
        } else if verb(&["Get", "Head", "Select"]) {
            Self::Read
        } else if verb(&["Put", "Create", "Update", "Copy", "Append", "Rename"]) {
            Self::Write
        } else if verb(&["Delete"]) {
            Self::Delete
        } else {
            Self::Config
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Config => "config",
            Self::Iam => "iam",
            Self::Kms => "kms",
        }
    }
}

#[cfg(test)]
mod tests;
