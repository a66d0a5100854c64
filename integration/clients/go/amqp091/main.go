// Command amqp091 runs amqp091-go against a broker: amqp091 HOST:PORT. It prints a line per check.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"tidegate/checks"
)

var url string

func main() {
	url = "amqp://guest:guest@" + os.Args[1] + "/"
	checks.Run("handshake", handshake)
	checks.Run("properties and headers of every type", roundTrip)
	checks.Run("big and empty bodies", bodies)
	checks.Run("5,000 confirms, single and multiple", confirms)
	checks.Run("deferred confirms", deferredConfirms)
	checks.Run("returned, then confirmed", returned)
	checks.Run("no-wait methods", noWait)
	checks.Run("prefetch, acknowledge several", prefetch)
	checks.Run("nack and reject", nackAndReject)
	checks.Run("get", get)
	checks.Run("cancel", cancel)
	checks.Run("cancelled by the server", cancelledByServer)
	checks.Run("errors close the channel", channelErrors)
	checks.Run("errors close the connection", connectionErrors)
	checks.Run("heartbeats", heartbeats)
	checks.Run("two consumers share", share)
	checks.Exit()
}

// session is a connection with one channel.
type session struct {
	*amqp.Channel
	connection *amqp.Connection
}

func open() (*session, error) {
	connection, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	channel, err := connection.Channel()
	return &session{channel, connection}, err
}

// with runs a check on a channel, with a new, empty queue of this name.
func with(name string, run func(*session) error) error {
	s, err := open()
	if err != nil {
		return err
	}
	defer s.connection.Close()
	if _, err := s.QueueDelete(name, false, false, false); err != nil {
		return err
	}
	if _, err := s.QueueDeclare(name, true, false, false, false, nil); err != nil {
		return err
	}
	if err := run(s); err != nil {
		return err
	}
	other, err := s.connection.Channel()
	if err != nil {
		return err
	}
	_, err = other.QueueDelete(name, false, false, false)
	return err
}

func (s *session) send(ctx context.Context, to string, bodies ...string) error {
	for _, body := range bodies {
		if err := s.PublishWithContext(ctx, "", to, false, false, amqp.Publishing{Body: []byte(body)}); err != nil {
			return err
		}
	}
	return nil
}

// take is the next so many deliveries.
func take(deliveries <-chan amqp.Delivery, count int) ([]amqp.Delivery, error) {
	var got []amqp.Delivery
	for len(got) < count {
		select {
		case delivery, ok := <-deliveries:
			if !ok {
				return nil, fmt.Errorf("the deliveries ended after %d of %d", len(got), count)
			}
			got = append(got, delivery)
		case <-time.After(10 * time.Second):
			return nil, fmt.Errorf("%d of %d deliveries in 10 s", len(got), count)
		}
	}
	return got, nil
}

func quiet(deliveries <-chan amqp.Delivery) error {
	select {
	case delivery := <-deliveries:
		return fmt.Errorf("'%s' was delivered, when nothing should be", delivery.Body)
	case <-time.After(300 * time.Millisecond):
		return nil
	}
}

func texts(deliveries []amqp.Delivery) []string {
	var bodies []string
	for _, delivery := range deliveries {
		bodies = append(bodies, string(delivery.Body))
	}
	return bodies
}

func numbers(count int) []string {
	var bodies []string
	for number := range count {
		bodies = append(bodies, fmt.Sprint(number))
	}
	return bodies
}

func handshake(context.Context) error {
	connection, err := amqp.DialConfig(url, amqp.Config{ChannelMax: 7, FrameSize: 10_000, Heartbeat: 5 * time.Second,
		Locale: "en_US", SASL: []amqp.Authentication{&amqp.AMQPlainAuth{Username: "guest", Password: "guest"}}})
	if err != nil {
		return err
	}
	agreed := connection.Config
	if err := checks.Equal([]any{agreed.ChannelMax, agreed.FrameSize, agreed.Heartbeat}, []any{uint16(7), 10_000, 5 * time.Second}, "agreed"); err != nil {
		return err
	}
	for range 7 {
		if _, err := connection.Channel(); err != nil {
			return err
		}
	}
	return connection.Close()
}

func headers() amqp.Table {
	return amqp.Table{
		"bool": true, "uint8": uint8(200), "int8": int8(-100), "int16": int16(-30_000), "uint16": uint16(60_000), "int32": int32(math.MinInt32),
		"uint32": uint32(math.MaxUint32), "int64": int64(math.MinInt64), "float32": float32(1.5), "float64": math.Pi,
		"decimal": amqp.Decimal{Scale: 3, Value: -12_345}, "string": "größe 🌊", "empty": "", "long": strings.Repeat("x", 70_000),
		"time": time.Unix(1_700_000_000, 0), "bytes": []byte{0, 255, 254}, "nothing": nil,
		"table": amqp.Table{"deeper": amqp.Table{"empty": amqp.Table{}, "number": int16(1)}},
		"array": []any{true, int8(1), "two", []any(nil), amqp.Table{"x": nil}, nil},
	}
}

func roundTrip(ctx context.Context) error {
	return with("go-properties", func(s *session) error {
		sent := amqp.Publishing{Headers: headers(), ContentType: "text/plain", ContentEncoding: "identity", DeliveryMode: 2, Priority: 9,
			CorrelationId: "c", ReplyTo: "r", Expiration: "600000", MessageId: "m", Timestamp: time.Unix(1_700_000_000, 0), Type: "t", UserId: "guest",
			AppId: "a", Body: []byte("body")}
		if err := s.PublishWithContext(ctx, "amq.topic", "nobody", false, false, sent); err != nil {
			return err
		}
		if err := s.QueueBind("go-properties", "go.*", "amq.topic", false, nil); err != nil {
			return err
		}
		if err := s.PublishWithContext(ctx, "amq.topic", "go.key", false, false, sent); err != nil {
			return err
		}
		deliveries, err := s.Consume("go-properties", "tag", true, false, false, false, nil)
		if err != nil {
			return err
		}
		taken, err := take(deliveries, 1)
		if err != nil {
			return err
		}
		got := taken[0]
		for name, value := range sent.Headers {
			if err := checks.Equal(got.Headers[name], value, "header "+name); err != nil {
				return err
			}
		}
		back := amqp.Publishing{Headers: got.Headers, ContentType: got.ContentType, ContentEncoding: got.ContentEncoding, DeliveryMode: got.DeliveryMode,
			Priority: got.Priority, CorrelationId: got.CorrelationId, ReplyTo: got.ReplyTo, Expiration: got.Expiration, MessageId: got.MessageId,
			Timestamp: got.Timestamp, Type: got.Type, UserId: got.UserId, AppId: got.AppId, Body: got.Body}
		if err := checks.Equal(back, sent, "message"); err != nil {
			return err
		}
		return checks.Equal([]any{got.Exchange, got.RoutingKey, got.ConsumerTag, got.Redelivered}, []any{"amq.topic", "go.key", "tag", false}, "delivery")
	})
}

func bodies(ctx context.Context) error {
	return with("go-bodies", func(s *session) error {
		deliveries, err := s.Consume("go-bodies", "", true, false, false, false, nil)
		if err != nil {
			return err
		}
		for _, size := range []int{0, 1, 131_064, 131_065, 5 << 20} {
			body := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
			if err := s.send(ctx, "go-bodies", string(body)); err != nil {
				return err
			}
			got, err := take(deliveries, 1)
			if err != nil {
				return fmt.Errorf("%d bytes: %w", size, err)
			}
			if !bytes.Equal(got[0].Body, body) {
				return fmt.Errorf("a body of %d bytes came back as %d bytes, or changed", size, len(got[0].Body))
			}
		}
		return nil
	})
}

func confirms(ctx context.Context) error {
	return with("go-confirms", func(s *session) error {
		const count = 5_000
		if err := s.Confirm(false); err != nil {
			return err
		}
		confirmed := s.NotifyPublish(make(chan amqp.Confirmation, count))
		for range count {
			if err := s.PublishWithContext(ctx, "", "go-confirms", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")}); err != nil {
				return err
			}
		}
		for wanted := uint64(1); wanted <= count; wanted++ {
			select {
			case got := <-confirmed:
				if !got.Ack || got.DeliveryTag != wanted {
					return fmt.Errorf("confirmation %+v, wanted %d", got, wanted)
				}
			case <-time.After(20 * time.Second):
				return fmt.Errorf("no confirmation of %d", wanted)
			}
		}
		queue, err := s.QueueDeclarePassive("go-confirms", true, false, false, false, nil)
		if err != nil {
			return err
		}
		return checks.Equal(queue.Messages, count, "messages")
	})
}

func deferredConfirms(ctx context.Context) error {
	return with("go-deferred", func(s *session) error {
		if err := s.Confirm(false); err != nil {
			return err
		}
		for range 20 {
			confirmation, err := s.PublishWithDeferredConfirmWithContext(ctx, "", "go-deferred", true, false, amqp.Publishing{Body: []byte("x")})
			if err != nil {
				return err
			}
			if acked, err := confirmation.WaitContext(ctx); err != nil || !acked {
				return fmt.Errorf("acknowledged %v, %w", acked, err)
			}
		}
		return nil
	})
}

func returned(ctx context.Context) error {
	return with("go-returns", func(s *session) error {
		if err := s.Confirm(false); err != nil {
			return err
		}
		returns := s.NotifyReturn(make(chan amqp.Return, 1))
		confirmed := s.NotifyPublish(make(chan amqp.Confirmation, 1))
		sent := amqp.Publishing{Body: []byte("back"), MessageId: "m"}
		if err := s.PublishWithContext(ctx, "amq.direct", "go-nowhere", true, false, sent); err != nil {
			return err
		}
		if got := <-confirmed; !got.Ack {
			return errors.New("what was returned is not acknowledged")
		}
		select {
		case got := <-returns: // there before the confirmation came
			return checks.Equal([]any{got.ReplyCode, got.ReplyText, got.Exchange, got.RoutingKey, got.MessageId, string(got.Body)},
				[]any{uint16(312), "NO_ROUTE", "amq.direct", "go-nowhere", "m", "back"}, "returned")
		default:
			return errors.New("it was not returned before it was confirmed")
		}
	})
}

func noWait(ctx context.Context) error {
	s, err := open()
	if err != nil {
		return err
	}
	defer s.connection.Close()
	var errs []error
	_, err = s.QueueDeclare("go-no-wait", false, true, true, true, nil)
	errs = append(errs, err, s.ExchangeDeclare("go-no-wait", "fanout", false, true, false, true, nil))
	errs = append(errs, s.QueueBind("go-no-wait", "", "go-no-wait", true, nil))
	deliveries, err := s.Consume("go-no-wait", "tag", true, false, false, true, nil)
	errs = append(errs, err, s.PublishWithContext(ctx, "go-no-wait", "", false, false, amqp.Publishing{Body: []byte("x")}))
	got, err := take(deliveries, 1)
	errs = append(errs, err, s.Confirm(false)) // this client waits for an answer even with true
	confirmation, err := s.PublishWithDeferredConfirm("go-no-wait", "", false, false, amqp.Publishing{Body: []byte("y")})
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !confirmation.Wait() {
		return errors.New("not confirmed")
	}
	if _, err := take(deliveries, 1); err != nil {
		return err
	}
	// Cancelling the last consumer deletes the queue, which deletes the exchange.
	if err := s.Cancel("tag", true); err != nil {
		return err
	}
	if _, err := s.QueueDelete("go-no-wait", false, false, true); err != nil {
		return err
	}
	_, err = s.QueueDeclare("", false, true, true, false, nil)
	return errors.Join(err, checks.Equal(texts(got), []string{"x"}, "received"))
}

func prefetch(ctx context.Context) error {
	return with("go-prefetch", func(s *session) error {
		if err := s.Qos(10, 0, false); err != nil {
			return err
		}
		if err := s.send(ctx, "go-prefetch", numbers(25)...); err != nil {
			return err
		}
		deliveries, err := s.Consume("go-prefetch", "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		var all []string
		for _, wanted := range []int{10, 10, 5} {
			got, err := take(deliveries, wanted)
			if err != nil {
				return err
			}
			if err := quiet(deliveries); err != nil {
				return err
			}
			all = append(all, texts(got)...)
			if err := got[len(got)-1].Ack(true); err != nil {
				return err
			}
		}
		return checks.Equal(all, numbers(25), "received")
	})
}

func nackAndReject(ctx context.Context) error {
	return with("go-nack", func(s *session) error {
		if err := s.send(ctx, "go-nack", numbers(4)...); err != nil {
			return err
		}
		deliveries, err := s.Consume("go-nack", "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		got, err := take(deliveries, 4)
		if err != nil {
			return err
		}
		if err := errors.Join(got[0].Reject(false), got[1].Nack(false, true), got[3].Nack(true, true)); err != nil {
			return err
		}
		again, err := take(deliveries, 3)
		if err != nil {
			return err
		}
		for _, delivery := range again {
			if !delivery.Redelivered {
				return errors.New("not marked redelivered")
			}
		}
		return errors.Join(checks.Equal(texts(again), []string{"1", "2", "3"}, "delivered again"), s.Ack(0, true), quiet(deliveries))
	})
}

func get(ctx context.Context) error {
	return with("go-get", func(s *session) error {
		if _, ok, err := s.Get("go-get", true); ok || err != nil {
			return fmt.Errorf("of an empty queue: %v, %w", ok, err)
		}
		if err := s.Confirm(false); err != nil {
			return err
		}
		for _, body := range numbers(3) {
			confirmation, err := s.PublishWithDeferredConfirm("", "go-get", false, false, amqp.Publishing{Body: []byte(body)})
			if err != nil {
				return err
			}
			confirmation.Wait()
		}
		for number := range 3 {
			message, ok, err := s.Get("go-get", number%2 == 0)
			if err != nil || !ok {
				return fmt.Errorf("%d: %v, %w", number, ok, err)
			}
			if err := checks.Equal([]any{string(message.Body), int(message.MessageCount)}, []any{fmt.Sprint(number), 2 - number}, "message, left"); err != nil {
				return err
			}
			if number == 1 {
				if err := message.Ack(false); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func cancel(ctx context.Context) error {
	return with("go-cancel", func(s *session) error {
		deliveries, err := s.Consume("go-cancel", "mine", true, false, false, false, nil)
		if err != nil {
			return err
		}
		if err := s.Cancel("mine", false); err != nil {
			return err
		}
		if _, open := <-deliveries; open {
			return errors.New("a delivery after the cancellation")
		}
		queue, err := s.QueueDeclarePassive("go-cancel", true, false, false, false, nil)
		return errors.Join(err, checks.Equal(queue.Consumers, 0, "consumers"))
	})
}

func cancelledByServer(context.Context) error {
	return with("go-gone", func(s *session) error {
		cancelled := s.NotifyCancel(make(chan string, 1))
		deliveries, err := s.Consume("go-gone", "mine", true, false, false, false, nil)
		if err != nil {
			return err
		}
		other, err := open()
		if err != nil {
			return err
		}
		defer other.connection.Close()
		if _, err := other.QueueDelete("go-gone", false, false, false); err != nil {
			return err
		}
		select {
		case tag := <-cancelled:
			if _, open := <-deliveries; open {
				return errors.New("a delivery after the cancellation")
			}
			return checks.Equal(tag, "mine", "cancelled")
		case <-time.After(10 * time.Second):
			return errors.New("no notification in 10 s")
		}
	})
}

func hasCode(err error, code int) error {
	var said *amqp.Error
	if !errors.As(err, &said) {
		return fmt.Errorf("wanted code %d, got %v", code, err)
	}
	if said.Code != code || !said.Server {
		return fmt.Errorf("wanted code %d, got %+v", code, said)
	}
	return nil
}

func channelErrors(context.Context) error {
	return with("go-errors", func(s *session) error {
		wrong := map[int]func(*amqp.Channel) error{
			404: func(channel *amqp.Channel) error {
				return channel.QueueBind("go-errors", "k", "go-nowhere", false, nil)
			},
			406: func(channel *amqp.Channel) error {
				_, err := channel.QueueDeclare("go-errors", false, false, false, false, nil)
				return err
			},
			403: func(channel *amqp.Channel) error {
				return channel.ExchangeDeclare("amq.own", "direct", true, false, false, false, nil)
			},
		}
		for code, call := range wrong {
			channel, err := s.connection.Channel()
			if err != nil {
				return err
			}
			closed := channel.NotifyClose(make(chan *amqp.Error, 1))
			if err := hasCode(call(channel), code); err != nil {
				return err
			}
			if reason := <-closed; reason.Code != code {
				return fmt.Errorf("the channel was closed with %v", reason)
			}
		}
		return s.send(context.Background(), "go-errors", "the other channel goes on")
	})
}

func connectionErrors(ctx context.Context) error {
	if _, err := amqp.Dial(url + "no-such-vhost"); hasCode(err, 530) != nil {
		return fmt.Errorf("unknown vhost: %v", err)
	}
	s, err := open()
	if err != nil {
		return err
	}
	closed := s.connection.NotifyClose(make(chan *amqp.Error, 1))
	if err := s.PublishWithContext(ctx, "", "x", false, true, amqp.Publishing{Body: []byte("immediate")}); err != nil {
		return err
	}
	select {
	case reason := <-closed:
		return hasCode(reason, 540)
	case <-time.After(10 * time.Second):
		return errors.New("an immediate publish was accepted")
	}
}

func heartbeats(context.Context) error {
	connection, err := amqp.DialConfig(url, amqp.Config{Heartbeat: time.Second})
	if err != nil {
		return err
	}
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	select {
	case reason := <-closed:
		return fmt.Errorf("closed: %v", reason)
	case <-time.After(4 * time.Second):
		return connection.Close()
	}
}

func share(ctx context.Context) error {
	return with("go-share", func(s *session) error {
		const count = 300
		got := make(chan amqp.Delivery, count)
		for range 3 {
			channel, err := s.connection.Channel()
			if err != nil {
				return err
			}
			if err := channel.Qos(5, 0, false); err != nil {
				return err
			}
			deliveries, err := channel.Consume("go-share", "", false, false, false, false, nil)
			if err != nil {
				return err
			}
			go func() {
				for delivery := range deliveries {
					_ = delivery.Ack(false)
					got <- delivery
				}
			}()
		}
		if err := s.send(ctx, "go-share", numbers(count)...); err != nil {
			return err
		}
		all, err := take(got, count)
		if err != nil {
			return err
		}
		seen, tags := map[string]bool{}, map[string]int{}
		for _, delivery := range all {
			seen[string(delivery.Body)] = true
			tags[delivery.ConsumerTag]++
		}
		return errors.Join(checks.Equal(len(seen), count, "different messages"), checks.Equal(len(tags), 3, "consumers that had some"))
	})
}
