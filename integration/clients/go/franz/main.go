// Command franz runs franz-go against a broker: franz BOOTSTRAP. It prints a line per check.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidegate/checks"
)

const topic = "franz"

var (
	bootstrap string
	admin     *kadm.Client
)

func main() {
	bootstrap = os.Args[1]
	admin = kadm.NewClient(checks.Must(kgo.NewClient(kgo.SeedBrokers(bootstrap))))
	checks.Run("create topics", createTopics)
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	for name, codec := range codecs {
		checks.Run("idempotent round trip, compression "+name, func(ctx context.Context) error {
			return roundTrip(ctx, kgo.ProducerBatchCompression(codec))
		})
	}
	checks.Run("round trip, not idempotent", func(ctx context.Context) error {
		return roundTrip(ctx, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
	})
	checks.Run("big message", bigMessage)
	checks.Run("50,000 small messages in order", manySmall)
	checks.Run("offsets by time", offsetsByTime)
	checks.Run("commit and resume", commitAndResume)
	checks.Run("rebalance", rebalance)
	checks.Run("static member", staticMember)
	checks.Run("describe, create partitions, delete topic", describeGrowDelete)
	checks.Exit()
}

func client(options ...kgo.Opt) *kgo.Client {
	return checks.Must(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, options...)...))
}

func createTopics(ctx context.Context) error {
	for name, partitions := range map[string]int32{topic: 3, "franz-times": 1, "franz-resume": 1} {
		if _, err := admin.CreateTopic(ctx, partitions, 1, nil, name); err != nil {
			return err
		}
	}
	if _, err := admin.CreateTopic(ctx, 3, 1, nil, topic); !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("creating twice said %v", err)
	}
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	return checks.Equal(len(topics[topic].Partitions), 3, "partitions")
}

func readFrom(ctx context.Context, topic string, partition int32, offset int64, count int) ([]*kgo.Record, error) {
	reader := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}))
	defer reader.Close()
	return take(ctx, reader, count)
}

func take(ctx context.Context, from *kgo.Client, count int) ([]*kgo.Record, error) {
	var records []*kgo.Record
	for len(records) < count {
		fetches := from.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records[:count], nil
}

func roundTrip(ctx context.Context, options ...kgo.Opt) error {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	h := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
	messages := []*kgo.Record{
		{Key: []byte("key"), Value: []byte("value"), Headers: []kgo.RecordHeader{h("content-type", "text/plain")}},
		{Value: []byte("no key")},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("tombstone"), Headers: []kgo.RecordHeader{h("why", "deleted")}},
		{Key: []byte("twice"), Value: []byte("same name"), Headers: []kgo.RecordHeader{h("h", "1"), h("h", "2")}},
		{Key: all, Value: all, Headers: []kgo.RecordHeader{h("binary", "\x00\xff"), h("empty", "")}},
		{Key: []byte("repetitive"), Value: bytes.Repeat([]byte("abcd"), 50_000)},
	}
	sender := client(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(20*time.Millisecond))...)
	defer sender.Close()
	for _, message := range messages {
		message.Topic, message.Partition = topic, 0
	}
	results := sender.ProduceSync(ctx, messages...)
	if err := results.FirstErr(); err != nil {
		return err
	}
	first := results[0].Record.Offset
	records, err := readFrom(ctx, topic, 0, first, len(messages))
	if err != nil {
		return err
	}
	for i, record := range records {
		wanted := messages[i]
		same := record.Offset == first+int64(i) && sameBytes(record.Key, wanted.Key) && sameBytes(record.Value, wanted.Value) &&
			slices.EqualFunc(record.Headers, wanted.Headers, func(a, b kgo.RecordHeader) bool {
				return a.Key == b.Key && bytes.Equal(a.Value, b.Value)
			})
		if !same {
			return fmt.Errorf("message %d came back as %+v", i, record)
		}
	}
	return nil
}

// sameBytes tells nil (no key, tombstone) from empty.
func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func bigMessage(ctx context.Context) error {
	big := make([]byte, 900_000)
	for i := range big {
		big[i] = byte(i*7919 + i>>8)
	}
	sender := client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer sender.Close()
	results := sender.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: 2, Value: big})
	if err := results.FirstErr(); err != nil {
		return err
	}
	records, err := readFrom(ctx, topic, 2, results[0].Record.Offset, 1)
	if err != nil {
		return err
	}
	return checks.Equal(bytes.Equal(records[0].Value, big), true, "big message the same")
}

func manySmall(ctx context.Context) error {
	const count = 50_000
	sender := client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(count))
	defer sender.Close()
	messages := make([]*kgo.Record, count)
	for i := range messages {
		messages[i] = &kgo.Record{Topic: topic, Partition: 1, Value: fmt.Append(nil, i)}
	}
	results := sender.ProduceSync(ctx, messages...)
	if err := results.FirstErr(); err != nil {
		return err
	}
	records, err := readFrom(ctx, topic, 1, 0, count)
	if err != nil {
		return err
	}
	for i, record := range records {
		if string(record.Value) != fmt.Sprint(i) {
			return fmt.Errorf("offset %d holds %s", i, record.Value)
		}
	}
	return nil
}

func offsetsByTime(ctx context.Context) error {
	sender := client()
	defer sender.Close()
	base := time.Now().UnixMilli() - 10_000 // retention by time would remove older ones
	for _, stamp := range []int64{1_000, 2_000, 3_000} {
		record := &kgo.Record{Topic: "franz-times", Timestamp: time.UnixMilli(base + stamp), Value: []byte("x")}
		if err := sender.ProduceSync(ctx, record).FirstErr(); err != nil {
			return err
		}
	}
	offsets, err := admin.ListOffsetsAfterMilli(ctx, base+1_500, "franz-times")
	if err != nil {
		return err
	}
	found, _ := offsets.Lookup("franz-times", 0)
	if err := checks.Equal(found.Offset, 1, "first at or after 1.5 s"); err != nil {
		return err
	}
	ends, err := admin.ListEndOffsets(ctx, "franz-times")
	if err != nil {
		return err
	}
	end, _ := ends.Lookup("franz-times", 0)
	return checks.Equal(end.Offset, 3, "end")
}

func commitAndResume(ctx context.Context) error {
	sender := client(kgo.DefaultProduceTopic("franz-resume"))
	defer sender.Close()
	for i := range 10 {
		if err := sender.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			return err
		}
	}
	member := func() *kgo.Client {
		return client(kgo.ConsumerGroup("franz-group"), kgo.ConsumeTopics("franz-resume"), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	first := member()
	records, err := take(ctx, first, 4)
	if err != nil {
		return err
	}
	if err := first.CommitRecords(ctx, records...); err != nil {
		return err
	}
	first.Close()
	second := member()
	defer second.Close()
	records, err = take(ctx, second, 6)
	if err != nil {
		return err
	}
	if err := checks.Equal(string(records[0].Value), "4", "first after resuming"); err != nil {
		return err
	}
	offsets, err := admin.FetchOffsets(ctx, "franz-group")
	if err != nil {
		return err
	}
	committed, _ := offsets.Lookup("franz-resume", 0)
	return checks.Equal(committed.At, 4, "committed")
}

// member is a group member polling on its own goroutine.
type member struct {
	*kgo.Client
	mutex sync.Mutex
	owned map[int32]bool
}

func join(group string, options ...kgo.Opt) *member {
	m := &member{owned: map[int32]bool{}}
	set := func(owns bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			for _, partition := range changed[topic] {
				if owns {
					m.owned[partition] = true
				} else {
					delete(m.owned, partition)
				}
			}
		}
	}
	m.Client = client(append(options, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.SessionTimeout(10*time.Second), kgo.OnPartitionsAssigned(set(true)), kgo.OnPartitionsRevoked(set(false)),
		kgo.OnPartitionsLost(set(false)))...)
	go func() {
		for !m.PollFetches(context.Background()).IsClientClosed() {
		}
	}()
	return m
}

func (m *member) count() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return len(m.owned)
}

func until(ctx context.Context, what string, condition func() bool) error {
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func rebalance(ctx context.Context) error {
	first := join("franz-rebalance")
	if err := until(ctx, "the first member to own all", func() bool { return first.count() == 3 }); err != nil {
		return err
	}
	second := join("franz-rebalance")
	shared := func() bool { return first.count() > 0 && second.count() > 0 && first.count()+second.count() == 3 }
	if err := until(ctx, "the partitions to be shared", shared); err != nil {
		return err
	}
	described, err := admin.DescribeGroups(ctx, "franz-rebalance")
	if err != nil {
		return err
	}
	if err := checks.Equal(len(described["franz-rebalance"].Members), 2, "members"); err != nil {
		return err
	}
	first.Close()
	if err := until(ctx, "the second member to take over", func() bool { return second.count() == 3 }); err != nil {
		return err
	}
	second.Close()
	return nil
}

func staticMember(ctx context.Context) error {
	for range 2 {
		m := join("franz-static", kgo.InstanceID("static-1"))
		if err := until(ctx, "the static member to own all", func() bool { return m.count() == 3 }); err != nil {
			return err
		}
		m.Close()
	}
	return nil
}

func describeGrowDelete(ctx context.Context) error {
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	if _, listed := groups["franz-group"]; !listed {
		return fmt.Errorf("franz-group is not listed: %v", groups.Groups())
	}
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return err
	}
	if len(configs) != 1 || configs[0].Err != nil || len(configs[0].Configs) == 0 {
		return fmt.Errorf("configs: %+v", configs)
	}
	if _, err := admin.UpdatePartitions(ctx, 5, topic); err != nil {
		return err
	}
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	if err := checks.Equal(len(topics[topic].Partitions), 5, "partitions"); err != nil {
		return err
	}
	_, err = admin.DeleteTopic(ctx, topic)
	return err
}
