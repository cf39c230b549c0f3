# A sample policy in the shape that Countersign and MinIO ask for: POST /v1/data/minio/allow. The laboratory runs it.
#
#   root   may everything
#   alice  puts, gets, lists and deletes below home/alice/ in the bucket reports
#   bob    is suspended: the one explicit deny
#
# MinIO asks some questions only to hear of an explicit deny (`denyOnly`): true means that there is none.
package minio

default allow := false

suspended := {"bob"}

deny if input.account in suspended

allow if input.owner

allow if {
	not deny
	input.denyOnly
}

allow if {
	not deny
	not input.denyOnly
	granted
}

granted if {
	own_bucket
	input.action in {"s3:PutObject", "s3:GetObject", "s3:DeleteObject"}
	startswith(input.object, own_prefix)
}

granted if {
	own_bucket
	input.action == "s3:ListBucket"
	# Exactly one value: a caller can add further ones.
	count(input.conditions.prefix) == 1
	startswith(input.conditions.prefix[0], own_prefix)
}

granted if {
	own_bucket
	input.action in {"s3:GetBucketLocation", "s3:HeadBucket"}
}

own_bucket if {
	input.account == "alice"
	input.bucket == "reports"
}

own_prefix := sprintf("home/%s/", [input.account])
