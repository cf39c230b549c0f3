module countersign/go_minio

go 1.25
