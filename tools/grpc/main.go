// Makes gRPC calls in bulk, as client and server, which the interop client of the gRPC project has
// no cases for. tools/grpc.sh puts a proxy between the two.
//
//	grpc serve                   listens on a free port of 127.0.0.1 and prints it
//	grpc call 127.0.0.1:8080     calls that server, and prints the result of each check
//
// Every byte of each call is checked, and its trailers. gRPC for Go measures the path by a PING
// beside each burst of data, so the streams also show that a proxy doesn't take these PINGs for a
// flood.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	test "google.golang.org/grpc/interop/grpc_testing"
)

const (
	calls   = 5000
	workers = 50
	// The bytes of each stream, and of each of its messages.
	bulk    = 100_000_000
	message = 200_000
	// The deadline of the call that exceeds it.
	deadline = 2 * time.Second
	// A deadline of 1 s per call would count the pauses of a busy machine; this one counts calls that
	// hang.
	patience = 30 * time.Second
)

func main() {
	ca := flag.String("ca", "", "call over TLS, and trust the certificate in this file")
	flag.Parse()
	var err error
	switch {
	case flag.Arg(0) == "serve":
		err = serve()
	case flag.Arg(0) == "call" && flag.NArg() == 2:
		err = call(flag.Arg(1), *ca)
	default:
		err = errors.New("expected: serve, or call HOST:PORT")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

// server is the service. Its answers depend only on the request, except for EmptyCall's.
type server struct {
	test.UnimplementedTestServiceServer
	// The number of streams that HalfDuplexCall has seen end early.
	cut atomic.Int64
}

func serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	service := grpc.NewServer()
	test.RegisterTestServiceServer(service, new(server))
	return service.Serve(listener)
}

// UnaryCall sends the body back, and its number in the trailers.
func (*server) UnaryCall(ctx context.Context, request *test.SimpleRequest) (*test.SimpleResponse, error) {
	asked, _ := metadata.FromIncomingContext(ctx)
	err := grpc.SetTrailer(ctx, metadata.MD{"number": asked["number"]})
	return &test.SimpleResponse{Payload: request.Payload}, err
}

// StreamingInputCall reports in its trailers the digest of what it received.
func (*server) StreamingInputCall(stream test.TestService_StreamingInputCallServer) error {
	digest, size := sha256.New(), 0
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			stream.SetTrailer(metadata.Pairs("digest-bin", string(digest.Sum(nil))))
			return stream.SendAndClose(&test.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)})
		}
		if err != nil {
			return err
		}
		digest.Write(request.Payload.Body)
		size += len(request.Payload.Body)
	}
}

// StreamingOutputCall sends messages of the requested sizes, and their digest in the trailers.
func (*server) StreamingOutputCall(request *test.StreamingOutputCallRequest, stream test.TestService_StreamingOutputCallServer) error {
	digest, source := sha256.New(), newSource()
	for _, wanted := range request.ResponseParameters {
		body := source.next(int(wanted.Size))
		digest.Write(body)
		if err := stream.Send(&test.StreamingOutputCallResponse{Payload: &test.Payload{Body: body}}); err != nil {
			return err
		}
	}
	stream.SetTrailer(metadata.Pairs("digest-bin", string(digest.Sum(nil))))
	return nil
}

// FullDuplexCall sends every message back as it arrives.
func (*server) FullDuplexCall(stream test.TestService_FullDuplexCallServer) error {
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&test.StreamingOutputCallResponse{Payload: request.Payload}); err != nil {
			return err
		}
	}
}

// HalfDuplexCall answers once, and then waits until the client ends the call.
func (s *server) HalfDuplexCall(stream test.TestService_HalfDuplexCallServer) error {
	if err := stream.Send(&test.StreamingOutputCallResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	s.cut.Add(1)
	return stream.Context().Err()
}

// EmptyCall reports in its trailers how many streams have ended early.
func (s *server) EmptyCall(ctx context.Context, _ *test.Empty) (*test.Empty, error) {
	err := grpc.SetTrailer(ctx, metadata.Pairs("cut", strconv.FormatInt(s.cut.Load(), 10)))
	return new(test.Empty), err
}

// source makes unpredictable bytes, so that a lost, duplicated or moved byte is noticed.
type source struct{ *rand.ChaCha8 }

func newSource() source {
	var seed [32]byte
	for at := range seed {
		seed[at] = byte(rand.Uint32())
	}
	return source{rand.NewChaCha8(seed)}
}

func (s source) next(size int) []byte {
	body := make([]byte, size)
	_, _ = s.Read(body) // it never fails
	return body
}

func call(address, ca string) error {
	secure := insecure.NewCredentials()
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("no certificate in %s", ca)
		}
		secure = credentials.NewTLS(&tls.Config{RootCAs: roots})
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(secure))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := test.NewTestServiceClient(conn)
	for _, step := range []struct {
		name string
		run  func(context.Context, test.TestServiceClient) error
	}{
		{fmt.Sprintf("%d calls, %d at once", calls, workers), unary},
		{fmt.Sprintf("%d MB up", bulk/1_000_000), upload},
		{fmt.Sprintf("%d MB down", bulk/1_000_000), download},
		{fmt.Sprintf("%d MB there and back", bulk/1_000_000), echo},
		{"a deadline", timeOut},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		err := step.run(ctx, client)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("ok", step.name)
	}
	return nil
}

// unary makes many calls of sizes from 0 to 4 KB, and counts those whose answers are wrong.
func unary(ctx context.Context, client test.TestServiceClient) error {
	var next, lost atomic.Int64
	var first atomic.Value
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			source := newSource()
			for number := next.Add(1); number <= calls; number = next.Add(1) {
				if err := one(ctx, client, source, strconv.FormatInt(number, 10)); err != nil {
					lost.Add(1)
					first.CompareAndSwap(nil, fmt.Sprintf("call %d: %v", number, err))
				}
			}
		})
	}
	all.Wait()
	if lost.Load() > 0 {
		return fmt.Errorf("%d lost, at first %v", lost.Load(), first.Load())
	}
	return nil
}

func one(ctx context.Context, client test.TestServiceClient, source source, number string) error {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, "number", number), patience)
	defer cancel()
	body := source.next(rand.IntN(4096))
	var trailer metadata.MD
	response, err := client.UnaryCall(ctx, &test.SimpleRequest{Payload: &test.Payload{Body: body}}, grpc.Trailer(&trailer))
	switch {
	case err != nil:
		return err
	case string(response.Payload.Body) != string(body):
		return errors.New("another body came back")
	case len(trailer["number"]) != 1 || trailer["number"][0] != number:
		return fmt.Errorf("the trailers are %v", trailer)
	}
	return nil
}

func upload(ctx context.Context, client test.TestServiceClient) error {
	stream, err := client.StreamingInputCall(ctx)
	if err != nil {
		return err
	}
	digest, source := sha256.New(), newSource()
	for range bulk / message {
		body := source.next(message)
		digest.Write(body)
		if err := stream.Send(&test.StreamingInputCallRequest{Payload: &test.Payload{Body: body}}); err != nil {
			return lastWord(err, stream)
		}
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	if response.AggregatedPayloadSize != bulk {
		return fmt.Errorf("%d bytes arrived", response.AggregatedPayloadSize)
	}
	return compare(digest.Sum(nil), stream.Trailer())
}

func download(ctx context.Context, client test.TestServiceClient) error {
	wanted := make([]*test.ResponseParameters, bulk/message)
	for at := range wanted {
		wanted[at] = &test.ResponseParameters{Size: message}
	}
	stream, err := client.StreamingOutputCall(ctx, &test.StreamingOutputCallRequest{ResponseParameters: wanted})
	if err != nil {
		return err
	}
	digest, size, err := receive(stream)
	if err != nil {
		return err
	}
	if size != bulk {
		return fmt.Errorf("%d bytes arrived", size)
	}
	return compare(digest, stream.Trailer())
}

func echo(ctx context.Context, client test.TestServiceClient) error {
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	sent := make(chan []byte, 1)
	go func() {
		digest, source := sha256.New(), newSource()
		for range bulk / message {
			body := source.next(message)
			digest.Write(body)
			if stream.Send(&test.StreamingOutputCallRequest{Payload: &test.Payload{Body: body}}) != nil {
				break // Recv says why
			}
		}
		_ = stream.CloseSend()
		sent <- digest.Sum(nil)
	}()
	digest, _, err := receive(stream)
	if err != nil {
		return err
	}
	if string(<-sent) != string(digest) {
		return errors.New("other bytes came back")
	}
	return nil
}

// timeOut makes a call that ends by its deadline, long after it has begun. Both ends must learn of
// it.
func timeOut(ctx context.Context, client test.TestServiceClient) error {
	before, err := cut(ctx, client)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	stream, err := client.HalfDuplexCall(limited)
	if err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return fmt.Errorf("it was not answered in %v: %w", deadline, err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
		return fmt.Errorf("it ended with %v", err)
	}
	for {
		now, err := cut(ctx, client)
		if err != nil {
			return fmt.Errorf("the server doesn't know: %w", err)
		}
		if now > before {
			return nil
		}
	}
}

// cut asks how many streams the server has seen end early.
func cut(ctx context.Context, client test.TestServiceClient) (int64, error) {
	var trailer metadata.MD
	if _, err := client.EmptyCall(ctx, new(test.Empty), grpc.Trailer(&trailer)); err != nil {
		return 0, err
	}
	counts := trailer["cut"]
	if len(counts) != 1 {
		return 0, fmt.Errorf("the trailers are %v", trailer)
	}
	return strconv.ParseInt(counts[0], 10, 64)
}

// receive reads all messages, and returns their digest and size.
func receive(stream interface {
	Recv() (*test.StreamingOutputCallResponse, error)
}) ([]byte, int, error) {
	digest, size := sha256.New(), 0
	for {
		response, err := stream.Recv()
		if err == io.EOF {
			return digest.Sum(nil), size, nil
		}
		if err != nil {
			return nil, 0, err
		}
		digest.Write(response.Payload.Body)
		size += len(response.Payload.Body)
	}
}

// compare compares a digest with the one in the trailers.
func compare(digest []byte, trailer metadata.MD) error {
	digests := trailer["digest-bin"]
	if len(digests) != 1 {
		return fmt.Errorf("the trailers are %v", trailer)
	}
	if digests[0] != string(digest) {
		return errors.New("other bytes arrived")
	}
	return nil
}

// lastWord finds out why Send failed: Send reports only that the stream has ended.
func lastWord(err error, stream grpc.ClientStream) error {
	if err == io.EOF {
		return stream.RecvMsg(new(test.StreamingInputCallResponse))
	}
	return err
}
