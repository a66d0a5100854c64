// Command grpc runs grpc-go, with stubs generated from proto/, against a gateway: grpc ADDRESS. It prints a line per check.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	tidegate "tidegate/tidegatev1"

	"tidegate/checks"
)

var (
	connection *grpc.ClientConn
	publisher  tidegate.PublisherClient
	consumer   tidegate.ConsumerClient
	admin      tidegate.AdminClient
)

func main() {
	connection = checks.Must(grpc.NewClient("passthrough:///"+os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials())))
	publisher = tidegate.NewPublisherClient(connection)
	consumer = tidegate.NewConsumerClient(connection)
	admin = tidegate.NewAdminClient(connection)
	checks.Run("publish and pull", publishAndPull)
	checks.Run("errors say why", errorsSayWhy)
	checks.Run("50,000 messages through streams", throughStreams)
	checks.Run("a broken stream goes on", aBrokenStreamGoesOn)
	checks.Run("fetch", fetch)
	checks.Run("health", health)
	checks.Exit()
}

// topicAndGroup creates both with one name.
func topicAndGroup(ctx context.Context, name string) error {
	if _, err := admin.CreateTopic(ctx, &tidegate.CreateTopicRequest{Topic: name}); err != nil {
		return err
	}
	config := &tidegate.GroupConfig{Topics: []string{name}, MaxInFlight: proto.Uint32(100_000)}
	_, err := admin.CreateGroup(ctx, &tidegate.CreateGroupRequest{Group: name, Config: config})
	return err
}

func entries(first, count int) []*tidegate.Entry {
	entries := make([]*tidegate.Entry, count)
	for n := range entries {
		entries[n] = &tidegate.Entry{Message: &tidegate.Message{Value: fmt.Appendf(nil, "m%d", first+n)}}
	}
	return entries
}

func publish(ctx context.Context, topic string, count int) error {
	answer, err := publisher.Publish(ctx, &tidegate.PublishRequest{Topic: topic, Entries: entries(0, count)})
	if err != nil {
		return err
	}
	for _, result := range answer.Results {
		if failure := result.GetError(); failure != nil {
			return errors.New(failure.String())
		}
	}
	return nil
}

func publishAndPull(ctx context.Context) error {
	if err := topicAndGroup(ctx, "go-pull"); err != nil {
		return err
	}
	sent := &tidegate.Message{
		Key: []byte("key"),
		Properties: &tidegate.Properties{
			ContentType: proto.String("text/plain"), Priority: proto.Uint32(4), Ttl: durationpb.New(time.Minute),
		},
		Headers: []*tidegate.Header{
			{Name: "retries", Type: "int32", Value: &tidegate.Header_Text{Text: "3"}},
			{Name: "bytes", Value: &tidegate.Header_Binary{Binary: []byte{0xff, 0}}},
			{Name: "null"},
		},
	}
	entry := &tidegate.Entry{Topic: "go-pull", Message: sent, IdempotencyKey: "once"}
	for _, duplicate := range []bool{false, true} {
		answer, err := publisher.Publish(ctx, &tidegate.PublishRequest{Entries: []*tidegate.Entry{entry}})
		if err != nil {
			return err
		}
		if published := answer.Results[0].GetPublished(); published == nil || published.Duplicate != duplicate {
			return errors.New(answer.String())
		}
	}
	pulled, err := consumer.Pull(ctx, &tidegate.PullRequest{Group: "go-pull", Wait: durationpb.New(10 * time.Second)})
	if err != nil {
		return err
	}
	received := pulled.Messages[0]
	received.Message.Timestamp = nil
	if len(pulled.Messages) != 1 || !proto.Equal(received.Message, sent) {
		return fmt.Errorf("sent %v, received %v", sent, pulled)
	}
	settled, err := consumer.Ack(ctx, &tidegate.AckRequest{Group: "go-pull", AckIds: []string{received.AckId}})
	if err == nil && settled.Results[0].Error != nil {
		err = errors.New(settled.String())
	}
	return err
}

func errorsSayWhy(ctx context.Context) error {
	_, err := consumer.Pull(ctx, &tidegate.PullRequest{Group: "nobody"})
	refused := status.Convert(err)
	for _, detail := range refused.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if ok && refused.Code() == codes.NotFound && info.Reason == "NOT_FOUND" && info.Domain == "tidegate" {
			return nil
		}
	}
	return fmt.Errorf("%v with %v", refused, refused.Details())
}

func throughStreams(ctx context.Context) error {
	const count, batch = 50_000, 100
	if err := topicAndGroup(ctx, "go-streams"); err != nil {
		return err
	}
	publishing, err := publisher.PublishStream(ctx)
	if err != nil {
		return err
	}
	sending := make(chan error, 1)
	go func() {
		for first := 0; first < count; first += batch {
			frame := &tidegate.PublishStreamRequest{Topic: "go-streams", Entries: entries(first, batch)}
			if err := publishing.Send(frame); err != nil {
				sending <- err
				return
			}
		}
		sending <- publishing.CloseSend()
	}()
	var acknowledged uint64
	for {
		answer, err := publishing.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if len(answer.Failed) > 0 {
			return errors.New(answer.Failed[0].String())
		}
		acknowledged = max(acknowledged, answer.Acknowledged)
	}
	if err := <-sending; err != nil || acknowledged != count {
		return fmt.Errorf("%d acknowledged, %w", acknowledged, err)
	}
	return consumeAll(ctx, "go-streams", count)
}

func session(ctx context.Context, start *tidegate.ConsumeRequest_Start) (tidegate.Consumer_ConsumeClient, *tidegate.ConsumeResponse_Started, error) {
	stream, err := consumer.Consume(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := stream.Send(&tidegate.ConsumeRequest{Frame: &tidegate.ConsumeRequest_Start_{Start: start}}); err != nil {
		return nil, nil, err
	}
	first, err := stream.Recv()
	return stream, first.GetStarted(), err
}

// consumeAll receives so many messages in order, 1,000 unacknowledged at most, and acknowledges them.
func consumeAll(ctx context.Context, group string, count int) error {
	start := &tidegate.ConsumeRequest_Start{Group: group, Credit: &tidegate.ConsumeRequest_Credit{Messages: 1000}}
	stream, _, err := session(ctx, start)
	if err != nil {
		return err
	}
	next, answers, asked := 0, 0, 0
	for next < count || answers < asked {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		if result := frame.GetAckResult(); result != nil {
			answers++
			if len(result.Failed) > 0 {
				return errors.New(result.String())
			}
		}
		messages := frame.GetMessages().GetMessages()
		for _, message := range messages {
			if wanted := fmt.Sprintf("m%d", next); string(message.Message.Value) != wanted {
				return fmt.Errorf("%s came where %s was next", message.Message.Value, wanted)
			}
			next++
		}
		if len(messages) > 0 {
			ack := &tidegate.ConsumeRequest_Ack{UpTo: messages[len(messages)-1].DeliveryId, RequestSeq: uint64(next)}
			credit := &tidegate.ConsumeRequest_Credit{Messages: uint64(len(messages))}
			asked++
			err := errors.Join(
				stream.Send(&tidegate.ConsumeRequest{Frame: &tidegate.ConsumeRequest_Ack_{Ack: ack}}),
				stream.Send(&tidegate.ConsumeRequest{Frame: &tidegate.ConsumeRequest_Credit_{Credit: credit}}),
			)
			if err != nil {
				return err
			}
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	lag, err := consumer.GetLag(ctx, &tidegate.GetLagRequest{Group: group})
	if err == nil && lag.Messages != 0 {
		err = errors.New(lag.String())
	}
	return err
}

func aBrokenStreamGoesOn(ctx context.Context) error {
	if err := errors.Join(topicAndGroup(ctx, "go-resume"), publish(ctx, "go-resume", 3)); err != nil {
		return err
	}
	breaking, cancel := context.WithCancel(ctx)
	credit := &tidegate.ConsumeRequest_Credit{Messages: 3}
	stream, started, err := session(breaking, &tidegate.ConsumeRequest_Start{Group: "go-resume", Credit: credit})
	if err == nil {
		_, err = stream.Recv()
	}
	cancel()
	if err != nil {
		return err
	}
	// The last two were lost on the way, as far as this consumer can tell.
	again := &tidegate.ConsumeRequest_Start{Group: "go-resume", SessionId: started.SessionId, ReceivedUpTo: proto.Uint64(1), Credit: credit}
	stream, started, err = session(ctx, again)
	if err != nil {
		return err
	}
	if !started.Resumed || !slices.Equal(started.Unsettled, []uint64{1}) {
		return errors.New(started.String())
	}
	frame, err := stream.Recv()
	if err != nil {
		return err
	}
	var found []string
	for _, message := range frame.GetMessages().GetMessages() {
		found = append(found, string(message.Message.Value))
	}
	if !slices.Equal(found, []string{"m1", "m2"}) {
		return fmt.Errorf("delivered again: %v", found)
	}
	return stream.CloseSend()
}

func fetch(ctx context.Context) error {
	stream, err := consumer.Fetch(ctx, &tidegate.FetchRequest{Topic: "go-streams", Limit: 5})
	if err != nil {
		return err
	}
	count := 0
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		count += len(frame.Messages)
	}
	if count != 5 {
		return fmt.Errorf("%d messages", count)
	}
	return nil
}

func health(ctx context.Context) error {
	answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil && answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		err = errors.New(answer.String())
	}
	return err
}
