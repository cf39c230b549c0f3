// A mixed S3 workload for Countersign's test of completeness: several clients, each request counted as it leaves.
//
// Arguments: the endpoint, a bucket, and how many requests to send. Credentials come from the environment. One JSON object
// comes out: how many requests were sent, in all and of each kind, and what was answered otherwise than it should have been.
// Every request bears User-Agent "witness"; no two requests have the same signature, since each object is asked about once by
// each client.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/tags"
)

// Objects at a time.
const workers = 8

// What the run comes to.
type ledger struct {
	mutex    sync.Mutex
	Requests int            `json:"requests"`
	Kinds    map[string]int `json:"kinds"`
	Wrong    []string       `json:"wrong"`
}

func (l *ledger) wrong(what string, err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.Wrong = append(l.Wrong, fmt.Sprintf("%s: %v", what, err))
}

// Counts what goes through it.
type counting struct {
	kind   string
	ledger *ledger
	inner  http.RoundTripper
}

func (c counting) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("User-Agent", "witness "+c.kind)
	c.ledger.mutex.Lock()
	c.ledger.Requests++
	c.ledger.Kinds[c.kind]++
	c.ledger.mutex.Unlock()
	return c.inner.RoundTrip(request)
}

// Everybody who asks.
type clients struct {
	ledger                             *ledger
	endpoint, bucket                   string
	alice, bob, service, sts, impostor *minio.Client
	presigned, anonymous               *http.Client
	// Temporary credentials, each time others.
	assume func() *credentials.Credentials
}

func (l *ledger) transport(kind string) http.RoundTripper {
	inner := http.DefaultTransport.(*http.Transport).Clone()
	inner.MaxIdleConnsPerHost = workers
	return counting{kind, l, inner}
}

func (l *ledger) client(kind, host string, who *credentials.Credentials) *minio.Client {
	options := &minio.Options{Creds: who, Region: "us-east-1", MaxRetries: 1, Transport: l.transport(kind)}
	client, err := minio.New(host, options)
	if err != nil {
		panic(err)
	}
	return client
}

func open(endpoint, bucket string) *clients {
	l := &ledger{Kinds: map[string]int{}, Wrong: []string{}}
	at, err := url.Parse(endpoint)
	if err != nil {
		panic(err)
	}
	static := func(name string) *credentials.Credentials {
		return credentials.NewStaticV4(os.Getenv(name+"_USER"), os.Getenv(name+"_SECRET"), "")
	}
	giving := &http.Client{Transport: l.transport("sts")}
	assume := func() *credentials.Credentials {
		options := credentials.STSAssumeRoleOptions{
			AccessKey: os.Getenv("ALICE_USER"), SecretKey: os.Getenv("ALICE_SECRET"), Location: "us-east-1",
		}
		return credentials.New(&credentials.STSAssumeRole{Client: giving, STSEndpoint: endpoint, Options: options})
	}
	wrong := credentials.NewStaticV4(os.Getenv("ALICE_USER"), "not-her-secret", "")
	return &clients{
		ledger: l, endpoint: endpoint, bucket: bucket, assume: assume,
		alice:     l.client("user", at.Host, static("ALICE")),
		bob:       l.client("denied", at.Host, static("BOB")),
		service:   l.client("service-account", at.Host, static("SERVICE")),
		sts:       l.client("temporary", at.Host, assume()),
		impostor:  l.client("impostor", at.Host, wrong),
		presigned: &http.Client{Transport: l.transport("presigned")},
		anonymous: &http.Client{Transport: l.transport("anonymous")},
	}
}

func code(err error) string {
	return minio.ToErrorResponse(err).Code
}

// An error that should have been.
func expect(err error, wanted string) error {
	if code(err) != wanted {
		return fmt.Errorf("%v instead of %s", err, wanted)
	}
	return nil
}

func put(ctx context.Context, who *minio.Client, bucket, object string) error {
	_, err := who.PutObject(ctx, bucket, object, bytes.NewReader([]byte("hello")), 5, minio.PutObjectOptions{DisableMultipart: true})
	return err
}

func get(ctx context.Context, who *minio.Client, bucket, object string) error {
	found, err := who.GetObject(ctx, bucket, object, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer found.Close()
	_, err = io.Copy(io.Discard, found)
	return err
}

func plain(client *http.Client, method, at string, body io.Reader, wanted int) error {
	request, err := http.NewRequest(method, at, body)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != wanted {
		return fmt.Errorf("status %d instead of %d", answer.StatusCode, wanted)
	}
	return nil
}

type step struct {
	name string
	do   func() error
}

// What is done with one object, one request a step.
func (c *clients) steps(ctx context.Context, object string) []step {
	later := object + ".later"
	return []step{
		{"put", func() error { return put(ctx, c.alice, c.bucket, object) }},
		{"stat", func() error {
			_, err := c.alice.StatObject(ctx, c.bucket, object, minio.StatObjectOptions{})
			return err
		}},
		{"get", func() error { return get(ctx, c.alice, c.bucket, object) }},
		{"list", func() error {
			for found := range c.alice.ListObjects(ctx, c.bucket, minio.ListObjectsOptions{Prefix: object}) {
				if found.Err != nil {
					return found.Err
				}
			}
			return nil
		}},
		{"tag", func() error {
			set, err := tags.NewTags(map[string]string{"a": "b"}, true)
			if err != nil {
				return err
			}
			return c.alice.PutObjectTagging(ctx, c.bucket, object, set, minio.PutObjectTaggingOptions{})
		}},
		{"tags", func() error {
			_, err := c.alice.GetObjectTagging(ctx, c.bucket, object, minio.GetObjectTaggingOptions{})
			return err
		}},
		{"copy", func() error {
			from, to := minio.CopySrcOptions{Bucket: c.bucket, Object: object}, minio.CopyDestOptions{Bucket: c.bucket, Object: object + ".copy"}
			_, err := c.alice.CopyObject(ctx, to, from)
			return err
		}},
		{"presigned get", func() error {
			at, err := c.alice.PresignedGetObject(ctx, c.bucket, object, time.Hour, nil)
			return errors.Join(err, plain(c.presigned, "GET", at.String(), nil, 200))
		}},
		{"presigned put", func() error {
			at, err := c.alice.PresignedPutObject(ctx, c.bucket, later, time.Hour)
			return errors.Join(err, plain(c.presigned, "PUT", at.String(), bytes.NewReader([]byte("hello")), 200))
		}},
		{"denied get", func() error { return expect(get(ctx, c.bob, c.bucket, object), "AccessDenied") }},
		{"denied put", func() error { return expect(put(ctx, c.bob, c.bucket, object), "AccessDenied") }},
		{"service account", func() error { return get(ctx, c.service, c.bucket, object) }},
		{"assume", func() error {
			_, err := c.assume().GetWithContext(nil)
			return err
		}},
		{"temporary", func() error { return get(ctx, c.sts, c.bucket, object) }},
		{"anonymous get", func() error { return plain(c.anonymous, "GET", c.endpoint+"/"+c.bucket+"/"+object, nil, 403) }},
		{"impostor's get", func() error { return expect(get(ctx, c.impostor, c.bucket, object), "SignatureDoesNotMatch") }},
		{"impostor's put", func() error { return expect(put(ctx, c.impostor, c.bucket, object), "SignatureDoesNotMatch") }},
		{"remove", func() error { return c.alice.RemoveObject(ctx, c.bucket, object, minio.RemoveObjectOptions{}) }},
	}
}

func (l *ledger) sent() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.Requests
}

func main() {
	endpoint, bucket := os.Args[1], os.Args[2]
	wanted, err := strconv.Atoi(os.Args[3])
	if err != nil {
		panic(err)
	}
	c := open(endpoint, bucket)
	ctx := context.Background()
	// Asked for once, by whoever would be first otherwise.
	if err := put(ctx, c.sts, bucket, "temporary"); err != nil {
		c.ledger.wrong("credentials", err)
	}
	var all sync.WaitGroup
	for worker := range workers {
		all.Add(1)
		go func() {
			defer all.Done()
			for number := worker; c.ledger.sent() < wanted; number += workers {
				object := fmt.Sprintf("objects/%d", number)
				for _, step := range c.steps(ctx, object) {
					if err := step.do(); err != nil {
						c.ledger.wrong(step.name+" "+object, err)
					}
				}
			}
		}()
	}
	all.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(c.ledger); err != nil {
		panic(err)
	}
}
