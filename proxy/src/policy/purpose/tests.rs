//! Purposes of real questions, and a class for every action of MinIO's.

use serde_json::{Value, json};

use super::*;
use crate::wire::question;

fn ask(action: &str, object: &str, conditions: Value, deny_only: bool) -> Request {
    let body = json!({"input": {"account": "alice", "groups": null, "action": action, "originalAction": "", "bucket": "b",
        "conditions": conditions, "owner": false, "object": object, "claims": {}, "denyOnly": deny_only}});
    question::read(body.to_string().into()).unwrap()
}

fn purpose(action: &str, object: &str, conditions: Value) -> Purpose {
    Purpose::of(&ask(action, object, conditions, false))
}

#[test]
fn lock_metadata_is_a_probe_unless_it_was_asked_for() {
    for (action, asked) in [
        ("s3:GetObjectRetention", json!({"retention": [""]})),
        ("s3:GetObjectLegalHold", json!({"legal-hold": [""]})),
        ("s3:PutObjectLegalHold", json!({"legal-hold": [""]})),
        ("s3:PutObjectLegalHold", json!({"Object-Lock-Legal-Hold": ["ON"]})),
    ] {
        assert_eq!(purpose(action, "a", json!({"versionid": [""]})), Purpose::MetadataProbe, "{action}");
        assert_eq!(purpose(action, "a", asked), Purpose::Access, "{action}");
    }
    assert_eq!(purpose("s3:GetObjectRetention", "a", json!({"legal-hold": [""]})), Purpose::MetadataProbe);
    assert_eq!(purpose("s3:PutObjectRetention", "a", json!({})), Purpose::Access);
}

#[test]
fn a_list_filter_has_exactly_minio_s_headers() {
    let filter = json!({"Prefix": [""], "Delimiter": ["/"]});
    assert_eq!(purpose("s3:ListBucket", "", filter.clone()), Purpose::ListFilter);
    assert_eq!(purpose("s3:GetBucketLocation", "", filter.clone()), Purpose::ListFilter);
    assert_eq!(purpose("s3:PutObject", "", filter), Purpose::Access);
    for other in [
        json!({"prefix": [""], "delimiter": ["/"]}),
        json!({"Prefix": ["home/"], "Delimiter": ["/"]}),
        json!({"Prefix": ["", "x"], "Delimiter": ["/"]}),
        json!({"Prefix": [""]}),
        json!({}),
    ] {
        assert_eq!(purpose("s3:ListBucket", "", other.clone()), Purpose::Access, "{other}");
    }
}

#[test]
fn the_rest_is_told_by_action_and_object() {
    assert_eq!(purpose("s3:DeleteObject", "", json!({})), Purpose::Preflight);
    assert_eq!(purpose("s3:DeleteObject", "a", json!({})), Purpose::Access);
    assert_eq!(purpose("s3:ListAllMyBuckets", "", json!({})), Purpose::Fallthrough);
    assert_eq!(purpose("s3:HeadBucket", "", json!({})), Purpose::Fallthrough);
    assert_eq!(purpose("s3:GetObject", "a", json!({})), Purpose::Access);
    for action in ["s3:DeleteObjectVersion", "s3:GetObjectRetention", "s3:HeadBucket", "admin:CreateServiceAccount"] {
        assert_eq!(Purpose::of(&ask(action, "", json!({}), true)), Purpose::DenyCheck, "{action}");
    }
}

#[test]
fn only_access_and_deny_checks_are_outcomes() {
    let outcomes: Vec<_> = Purpose::ALL.into_iter().filter(|purpose| !purpose.advisory()).collect();
    assert_eq!(outcomes, [Purpose::DenyCheck, Purpose::Access]);
}

#[test]
fn words_in_json_are_the_words_elsewhere() {
    for purpose in Purpose::ALL {
        assert_eq!(serde_json::to_value(purpose).unwrap(), purpose.as_str());
    }
    for class in ActionClass::ALL {
        assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
    }
}

/// Every action of minio/pkg v3.1.3, by its class.
const ACTIONS: [(ActionClass, &str); 7] = [
    (
        ActionClass::Read,
        "s3:GetObject s3:GetObjectAttributes s3:GetObjectVersion s3:GetObjectVersionAttributes s3:GetObjectVersionTagging \
         s3:GetObjectRetention s3:GetObjectLegalHold s3:GetObjectTagging s3:GetObjectVersionForReplication",
    ),
    (
        ActionClass::Write,
        "s3:PutObject s3:PutObjectVersionTagging s3:PutObjectRetention s3:PutObjectLegalHold s3:PutObjectTagging \
         s3:PutObjectFanOut s3:ReplicateObject s3:ReplicateTags s3:RestoreObject s3:AbortMultipartUpload",
    ),
    (
        ActionClass::Delete,
        "s3:DeleteObject s3:DeleteObjectVersion s3:DeleteObjectTagging s3:DeleteObjectVersionTagging s3:ReplicateDelete \
         s3:DeleteBucket s3:ForceDeleteBucket s3:BypassGovernanceRetention",
    ),
    (
        ActionClass::List,
        "s3:ListAllMyBuckets s3:ListBucket s3:ListBucketVersions s3:ListBucketMultipartUploads s3:HeadBucket \
         s3:ListMultipartUploadParts s3:GetBucketLocation s3:ListenNotification s3:ListenBucketNotification",
    ),
    (
        ActionClass::Config,
        "s3:CreateBucket s3:DeleteBucketPolicy s3:DeleteBucketCors s3:GetBucketNotification s3:GetBucketPolicy \
         s3:GetBucketCors s3:GetBucketPolicyStatus s3:PutLifecycleConfiguration s3:GetLifecycleConfiguration \
         s3:PutBucketNotification s3:PutBucketPolicy s3:PutBucketCors s3:GetBucketObjectLockConfiguration \
         s3:PutBucketObjectLockConfiguration s3:GetBucketTagging s3:PutBucketTagging s3:PutEncryptionConfiguration \
         s3:GetEncryptionConfiguration s3:PutBucketVersioning s3:GetBucketVersioning s3:GetReplicationConfiguration \
         s3:PutReplicationConfiguration s3:ResetBucketReplicationState \
         admin:Heal admin:Decommission admin:Rebalance admin:StorageInfo admin:Prometheus admin:DataUsageInfo \
         admin:ForceUnlock admin:TopLocksInfo admin:Profiling admin:ServerTrace admin:ConsoleLog admin:ServerInfo \
         admin:OBDInfo admin:LicenseInfo admin:BandwidthMonitor admin:InspectData admin:ServerUpdate \
         admin:ServiceRestart admin:ServiceStop admin:ServiceFreeze admin:ConfigUpdate admin:SiteReplicationAdd \
         admin:SiteReplicationDisable admin:SiteReplicationRemove admin:SiteReplicationResync admin:SiteReplicationInfo \
         admin:SiteReplicationOperation admin:SetBucketQuota admin:GetBucketQuota admin:SetBucketTarget \
         admin:GetBucketTarget admin:ReplicationDiff admin:ImportBucketMetadata admin:ExportBucketMetadata \
         admin:SetTier admin:ListTier admin:ListBatchJobs admin:DescribeBatchJob admin:StartBatchJob \
         admin:CancelBatchJob admin:GenerateBatchJob admin:ClusterInfo admin:PoolList admin:PoolInfo admin:SetInfo \
         admin:DriveInfo",
    ),
    (
        ActionClass::Iam,
        "admin:CreateUser admin:DeleteUser admin:ListUsers admin:EnableUser admin:DisableUser admin:GetUser \
         admin:CreateServiceAccount admin:UpdateServiceAccount admin:RemoveServiceAccount admin:ListServiceAccounts \
         admin:ListTemporaryAccounts admin:AddUserToGroup admin:RemoveUserFromGroup admin:GetGroup admin:ListGroups \
         admin:EnableGroup admin:DisableGroup admin:CreatePolicy admin:DeletePolicy admin:GetPolicy \
         admin:AttachUserOrGroupPolicy admin:UpdatePolicyAssociation admin:ListUserPolicies admin:ExportIAM \
         admin:ImportIAM",
    ),
    (
        ActionClass::Kms,
        "kms:CreateKey kms:DeleteKey kms:ListKeys kms:ImportKey kms:DescribePolicy kms:AssignPolicy kms:DeletePolicy \
         kms:SetPolicy kms:GetPolicy kms:ListPolicies kms:DescribeIdentity kms:DescribeSelfIdentity kms:DeleteIdentity \
         kms:ListIdentities kms:KeyStatus kms:Status kms:API kms:Metrics kms:Version kms:AuditLog kms:ErrorLog \
         admin:KMSCreateKey admin:KMSKeyStatus",
    ),
];

#[test]
fn every_action_of_minio_has_its_class() {
    let mut seen = 0;
    for (class, actions) in ACTIONS {
        for action in actions.split_whitespace() {
            assert_eq!(ActionClass::of(action), class, "{action}");
            seen += 1;
        }
    }
    assert_eq!(seen, 153);
}

#[test]
fn unknown_actions_are_classed_by_their_verb() {
    for (action, class) in [
        ("s3:GetObjectAcl", ActionClass::Read),
        ("s3:PutObjectAcl", ActionClass::Write),
        ("s3:DeleteObjects", ActionClass::Delete),
        ("s3:ListObjectsV9", ActionClass::List),
        ("s3:PutBucketLogging", ActionClass::Config),
        ("s3:Frobnicate", ActionClass::Config),
        ("s3tables:ListTables", ActionClass::List),
        ("", ActionClass::Config),
        (":", ActionClass::Config),
        ("admin:", ActionClass::Config),
    ] {
        assert_eq!(ActionClass::of(action), class, "{action}");
    }
}
