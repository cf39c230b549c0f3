module countersign/go_oracle

go 1.24
