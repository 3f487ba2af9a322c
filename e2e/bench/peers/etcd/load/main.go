// Command load drives an etcd cluster through etcd's own client and prints one line of JSON.
//
// Puts and linearizable gets on random keys out of a fixed number, so many in flight, for so long.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Result is what the benchmark reads.
type Result struct {
	Operations uint64  `json:"operations"`
	Failed     uint64  `json:"failed"`
	Seconds    float64 `json:"seconds"`
	P50Micros  float64 `json:"p50_micros"`
	P99Micros  float64 `json:"p99_micros"`
}

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "comma-separated client addresses")
	operation := flag.String("op", "put", "fill, put or get")
	inFlight := flag.Int("in-flight", 256, "requests waiting at a time")
	seconds := flag.Float64("seconds", 8, "how long to measure")
	keys := flag.Int("keys", 10000, "distinct keys")
	valueBytes := flag.Int("value-bytes", 256, "length of a value")
	flag.Parse()
	if err := run(strings.Split(*endpoints, ","), *operation, *inFlight, *keys, *valueBytes, *seconds); err != nil {
		fmt.Fprintln(os.Stderr, "failed to drive etcd:", err)
		os.Exit(1)
	}
}

func run(endpoints []string, operation string, inFlight, keys, valueBytes int, seconds float64) error {
	// As etcd's own benchmark does: several connections, spread over the members.
	connections := min(inFlight, 8)
	clients := make([]*clientv3.Client, connections)
	for i := range clients {
		// Its first endpoint differs, so that the connections do not all start at one member.
		own := append(slices.Clone(endpoints[i%len(endpoints):]), endpoints[:i%len(endpoints)]...)
		client, err := clientv3.New(clientv3.Config{Endpoints: own, DialTimeout: 5 * time.Second})
		if err != nil {
			return err
		}
		defer client.Close()
		clients[i] = client
	}
	value := make([]byte, valueBytes)
	if _, err := rand.Read(value); err != nil {
		return err
	}
	if operation == "fill" {
		return fill(clients, keys, value)
	}
	result, err := measure(clients, operation, inFlight, keys, value, time.Duration(seconds*float64(time.Second)))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func key(i int) string {
	return fmt.Sprintf("bench/%08d", i)
}

// fill writes every key once.
func fill(clients []*clientv3.Client, keys int, value []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var next atomic.Int64
	errs := make(chan error, 64)
	for worker := range cap(errs) {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= keys {
					errs <- nil
					return
				}
				if _, err := clients[worker%len(clients)].Put(ctx, key(i), string(value)); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func measure(clients []*clientv3.Client, operation string, inFlight, keys int, value []byte, length time.Duration) (Result, error) {
	if operation != "put" && operation != "get" {
		return Result{}, fmt.Errorf("unknown operation %q", operation)
	}
	ctx, cancel := context.WithTimeout(context.Background(), length+30*time.Second)
	defer cancel()
	var failed atomic.Uint64
	var all []time.Duration
	var lock sync.Mutex
	var workers sync.WaitGroup
	start := time.Now()
	end := start.Add(length)
	for worker := range inFlight {
		workers.Go(func() {
			client := clients[worker%len(clients)]
			mine := make([]time.Duration, 0, 4096)
			for time.Now().Before(end) {
				before := time.Now()
				if err := once(ctx, client, operation, key(mathrand.IntN(keys)), value); err != nil {
					failed.Add(1)
					continue
				}
				mine = append(mine, time.Since(before))
			}
			lock.Lock()
			defer lock.Unlock()
			all = append(all, mine...)
		})
	}
	workers.Wait()
	taken := time.Since(start)
	if len(all) == 0 {
		return Result{}, fmt.Errorf("no %s succeeded", operation)
	}
	slices.Sort(all)
	return Result{
		Operations: uint64(len(all)),
		Failed:     failed.Load(),
		Seconds:    taken.Seconds(),
		P50Micros:  float64(all[len(all)/2].Nanoseconds()) / 1000,
		P99Micros:  float64(all[len(all)*99/100].Nanoseconds()) / 1000,
	}, nil
}

func once(ctx context.Context, client *clientv3.Client, operation, key string, value []byte) error {
	if operation == "put" {
		_, err := client.Put(ctx, key, string(value))
		return err
	}
	// Linearizable is etcd's default.
	response, err := client.Get(ctx, key)
	if err == nil && (len(response.Kvs) != 1 || !bytes.Equal([]byte(response.Kvs[0].Key), []byte(key))) {
		return fmt.Errorf("key %q was not found", key)
	}
	return err
}
