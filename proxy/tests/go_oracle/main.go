// How MinIO reads an authorizer's answer: the oracle that Countersign's own reader is held against.
//
// Bodies come on standard input, each behind its length (32 bits, little endian). For each, one byte goes out:
// 'A' allow, 'D' deny without an error, 'E' deny with an error (which MinIO logs). The two types and the two passes are
// those of MinIO's access management plugin, which looks at neither the status nor the headers.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"
)

type opaResult struct {
	Result bool `json:"result"`
}

type opaResultAllow struct {
	Result struct {
		Allow bool `json:"allow"`
	} `json:"result"`
}

func isAllowed(answer []byte) (bool, error) {
	body := bytes.NewReader(answer)
	var result opaResult
	if err := json.NewDecoder(body).Decode(&result); err != nil {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		var resultAllow opaResultAllow
		if err := json.NewDecoder(body).Decode(&resultAllow); err != nil {
			return false, err
		}
		return resultAllow.Result.Allow, nil
	}
	return result.Result, nil
}

func verdict(answer []byte) byte {
	allowed, err := isAllowed(answer)
	switch {
	case err != nil:
		return 'E'
	case allowed:
		return 'A'
	default:
		return 'D'
	}
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		var length uint32
		err := binary.Read(in, binary.LittleEndian, &length)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			log.Fatalf("read length: %v", err)
		}
		answer := make([]byte, length)
		if _, err := io.ReadFull(in, answer); err != nil {
			log.Fatalf("read body: %v", err)
		}
		if err := out.WriteByte(verdict(answer)); err != nil {
			log.Fatalf("write verdict: %v", err)
		}
	}
	if err := out.Flush(); err != nil {
		log.Fatalf("write verdicts: %v", err)
	}
}
