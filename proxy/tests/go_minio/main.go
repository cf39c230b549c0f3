// What MinIO's access management plugin is to Countersign: a client of Go's net/http with the plugin's transport, which
// asks without a pause and never asks twice. Where there are several instances it does what an operator's balancer does:
// new connections go to those that say that they are ready.
//
// One line goes out for each answer, its record's id; one that begins with "!" for each call that failed; at the end, when
// standard input is closed, one that begins with "#" with what was met on the way.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Between two looks at /readyz.
const lookEvery = 50 * time.Millisecond

type instance struct {
	address string
	readyz  string
	ready   atomic.Bool
}

type balancer struct {
	instances []*instance
	turn      atomic.Uint64
}

func (b *balancer) watch(client *http.Client) {
	for {
		for _, one := range b.instances {
			answer, err := client.Get(one.readyz)
			one.ready.Store(err == nil && answer.StatusCode == http.StatusOK)
			if err == nil {
				answer.Body.Close()
			}
		}
		time.Sleep(lookEvery)
	}
}

// Those that are ready, in turn; if nobody is, or the chosen one refuses, whoever accepts.
func (b *balancer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	var failed error
	first := b.turn.Add(1)
	for _, onlyReady := range []bool{true, false} {
		for i := range b.instances {
			one := b.instances[(first+uint64(i))%uint64(len(b.instances))]
			if onlyReady && !one.ready.Load() {
				continue
			}
			connection, err := dialer.DialContext(ctx, network, one.address)
			if err == nil {
				return connection, nil
			}
			failed = errors.Join(failed, err)
		}
	}
	return nil, failed
}

// The settings are those of MinIO's plugin, but for the idle time, which tests shorten. With authorities it speaks TLS, and
// HTTP/2 like a plugin with MINIO_POLICY_PLUGIN_ENABLE_HTTP2=on.
func transport(b *balancer, idle time.Duration, authorities *x509.CertPool) *http.Transport {
	return &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: authorities, ServerName: "localhost"},
		ForceAttemptHTTP2:     authorities != nil,
		DialContext:           b.dial,
		MaxIdleConnsPerHost:   1024,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		IdleConnTimeout:       idle,
		ResponseHeaderTimeout: time.Minute,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: 10 * time.Second,
		DisableCompression:    true,
	}
}

// Nil where there is no file: then nothing is encrypted.
func trusted(file string) *x509.CertPool {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		log.Fatalf("no certificate in %s: %v", file, err)
	}
	return pool
}

type asker struct {
	url      string
	question []byte
	out      *log.Logger
	idle     time.Duration

	calls, failed, late, dialed, closing, http2 atomic.Uint64
}

func (a *asker) ask(client *http.Client) {
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		switch {
		case !info.Reused:
			a.dialed.Add(1)
		case info.IdleTime > a.idle*9/10:
			a.late.Add(1)
		}
	}}
	ctx := httptrace.WithClientTrace(context.Background(), trace)
	// As the plugin makes it: a body that could be sent again, and a method that Go does not send again.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(a.question))
	if err != nil {
		log.Fatalf("no request: %v", err)
	}
	request.Header.Set("Content-Type", "application/json")
	a.calls.Add(1)
	if id, err := a.answer(client, request); err != nil {
		a.failed.Add(1)
		a.out.Printf("! %v", err)
	} else {
		a.out.Print(id)
	}
}

func (a *asker) answer(client *http.Client, request *http.Request) (string, error) {
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	if answer.Close {
		a.closing.Add(1)
	}
	if answer.ProtoMajor == 2 {
		a.http2.Add(1)
	}
	id := answer.Header.Get("X-Countersign-Decision")
	if string(body) != `{"result":true}` || id == "" {
		return "", fmt.Errorf("%s %s", answer.Status, body)
	}
	return id, nil
}

// Asks with pauses between `least` and `most`, until `done` is closed.
func (a *asker) work(client *http.Client, least, most time.Duration, done <-chan struct{}) {
	for {
		a.ask(client)
		pause := least + time.Duration(rand.Int64N(int64(most-least)+1))
		select {
		case <-done:
			return
		case <-time.After(pause):
		}
	}
}

func main() {
	targets := flag.String("targets", "", "address=readyz URL, several with commas")
	idle := flag.Duration("idle", 15*time.Second, "how long the transport keeps a connection that it does not use")
	busy := flag.Int("busy", 0, "callers with short pauses")
	edge := flag.Int("edge", 0, "callers with pauses from -edge-from to -edge-to")
	from := flag.Duration("edge-from", 0, "")
	to := flag.Duration("edge-to", 0, "")
	ca := flag.String("ca", "", "a PEM file of who vouches for the targets, which are then spoken to over TLS")
	question := flag.String("question", "", "the body of every call")
	flag.Parse()

	b := &balancer{}
	for _, target := range strings.Split(*targets, ",") {
		address, readyz, found := strings.Cut(target, "=")
		if !found {
			log.Fatalf("no target: %q", target)
		}
		b.instances = append(b.instances, &instance{address: address, readyz: readyz})
	}
	looks := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	go b.watch(looks)

	authorities := trusted(*ca)
	a := &asker{
		url:      "http://countersign/",
		question: []byte(*question),
		out:      log.New(os.Stdout, "", 0),
		idle:     *idle,
	}
	if authorities != nil {
		a.url = "https://countersign/"
	}
	done := make(chan struct{})
	var workers sync.WaitGroup
	client := func() *http.Client { return &http.Client{Transport: transport(b, *idle, authorities)} }
	// A node of MinIO that is asked a lot.
	node := client()
	for range *busy {
		workers.Go(func() { a.work(node, 5*time.Millisecond, 60*time.Millisecond, done) })
	}
	// Nodes that are asked so seldom that their connections are idle for nearly as long as they may be. Each has its own:
	// of several connections the one that was used last is used next.
	for range *edge {
		workers.Go(func() { a.work(client(), *from, *to, done) })
	}
	io.Copy(io.Discard, os.Stdin)
	close(done)
	workers.Wait()
	a.out.Printf("# calls=%d failed=%d late=%d dialed=%d closing=%d http2=%d",
		a.calls.Load(), a.failed.Load(), a.late.Load(), a.dialed.Load(), a.closing.Load(), a.http2.Load())
}
