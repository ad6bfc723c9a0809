// Runs an upstream of net/http for tools/interop, tools/proxy-memory.sh and tools/compare, with the
// standard library only.
//
//	upstream-go --cert FILE --key FILE --root DIR
//
// The upstream listens on free ports of 127.0.0.1, or on --http, --h2c and so on, and prints a line
// for each port: http (HTTP/1.1), h2c (HTTP/2 in cleartext, by prior knowledge), https (TLS, and
// HTTP/2 or HTTP/1.1 by ALPN) and https1 (TLS and HTTP/1.1). After that it prints events that
// clients can't see: which requests were cancelled.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// served counts requests, except for those that ask for the count.
var served atomic.Int64

func main() {
	addresses := map[string]*string{}
	for _, name := range []string{"http", "h2c", "https", "https1"} {
		addresses[name] = flag.String(name, "127.0.0.1:0", "the address of the port "+name)
	}
	cert := flag.String("cert", "", "certificate, PEM")
	key := flag.String("key", "", "its private key, PEM")
	root := flag.String("root", ".", "the directory of files")
	flag.Parse()
	log.SetFlags(0)

	handler := count(routes(*root))
	failures := make(chan error)
	for _, port := range []struct {
		name           string
		http1, h2, h2c bool
	}{
		{"http", true, false, false},
		{"h2c", false, false, true},
		{"https", true, true, false},
		{"https1", true, false, false},
	} {
		listener, err := net.Listen("tcp", *addresses[port.name])
		if err != nil {
			log.Fatal(err)
		}
		var protocols http.Protocols
		protocols.SetHTTP1(port.http1)
		protocols.SetHTTP2(port.h2)
		protocols.SetUnencryptedHTTP2(port.h2c)
		// A proxy can manage with one connection: it gets as many streams as it likes.
		server := http.Server{Handler: handler, Protocols: &protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000}}
		fmt.Println(port.name, listener.Addr())
		go func() {
			if strings.HasPrefix(port.name, "https") {
				failures <- server.ServeTLS(listener, *cert, *key)
			} else {
				failures <- server.Serve(listener)
			}
		}()
	}
	log.Fatal(<-failures)
}

func count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/count" {
			fmt.Fprintln(w, served.Load())
			return
		}
		served.Add(1)
		next.ServeHTTP(w, r)
	})
}

func routes(root string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(root)))
	mux.Handle("/redirect", http.RedirectHandler("http://elsewhere.example/1.bin?x=1", http.StatusFound))
	mux.HandleFunc("/upload", upload)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/show", show)
	mux.HandleFunc("/trailers", trailers)
	mux.HandleFunc("/hints", hints)
	mux.HandleFunc("/ticks", ticks)
	mux.HandleFunc("/tock", tock)
	mux.HandleFunc("/short", short)
	mux.HandleFunc("/abort", abort)
	mux.HandleFunc("/refuse", refuse)
	mux.HandleFunc("/slow", slow)
	mux.HandleFunc("/pause", pause)
	mux.HandleFunc("/pattern", pattern)
	mux.HandleFunc("/discard", discard)
	mux.HandleFunc("/deaf", deaf)
	mux.HandleFunc("/websocket", websocket)
	mux.HandleFunc("/status", status)
	return mux
}

// status answers with a document that no file holds.
func status(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "application/json")
	body, _ := json.Marshal(map[string]string{"status": "ok"})
	w.Write(body)
}

// upload reports what it received, as tidegate's own target of that name does.
func upload(w http.ResponseWriter, r *http.Request) {
	digest := sha256.New()
	size, err := io.Copy(digest, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, `{"bytes":%d,"sha256":"%x"}`, size, digest.Sum(nil))
}

// echo sends the body back as it arrives.
func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	// HTTP/2 is always full duplex.
	_ = control.EnableFullDuplex()
	w.Header().Set("content-type", "application/octet-stream")
	if r.ContentLength >= 0 {
		w.Header().Set("content-length", strconv.FormatInt(r.ContentLength, 10))
	}
	buffer := make([]byte, 64<<10)
	for {
		count, err := r.Body.Read(buffer)
		if _, failed := w.Write(buffer[:count]); failed != nil {
			panic(http.ErrAbortHandler)
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = control.Flush()
	}
}

// show reports everything about the request: a line for each part.
func show(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s\nhost: %s\n", r.Method, r.RequestURI, r.Proto, r.Host)
	fields(w, "", r.Header)
	fmt.Fprintf(w, "body: %d bytes\n", len(body))
	fields(w, "trailer ", r.Trailer)
}

func fields(w io.Writer, prefix string, header http.Header) {
	var lines []string
	for name, values := range header {
		for _, value := range values {
			lines = append(lines, fmt.Sprintf("%s%s: %s\n", prefix, strings.ToLower(name), value))
		}
	}
	sort.Strings(lines)
	io.WriteString(w, strings.Join(lines, ""))
}

// trailers answers with a body and trailers.
func trailers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("trailer", "x-digest")
	body := "a body with trailers\n"
	io.WriteString(w, body)
	_ = http.NewResponseController(w).Flush()
	w.Header().Set("x-digest", fmt.Sprintf("%x", sha256.Sum256([]byte(body))))
	w.Header().Set(http.TrailerPrefix+"x-unannounced", "yes")
}

// hints sends 103 twice before it answers.
func hints(w http.ResponseWriter, r *http.Request) {
	for _, name := range []string{"style.css", "script.js"} {
		w.Header().Set("link", "</"+name+">; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	}
	w.Header().Del("link")
	io.WriteString(w, "hinted\n")
}

// tocks has the channels that ticks waits for, by the query.
var tocks sync.Map

// ticks sends five lines, each but the first after a request for tock with the same query.
func ticks(w http.ResponseWriter, r *http.Request) {
	for line := range 5 {
		if line > 0 {
			select {
			case <-tocked(r):
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprintln(w, line)
		_ = http.NewResponseController(w).Flush()
	}
}

// tock lets ticks continue: its client has received the last line.
func tock(w http.ResponseWriter, r *http.Request) { tocked(r) <- struct{}{} }

func tocked(r *http.Request) chan struct{} {
	tocked, _ := tocks.LoadOrStore(r.URL.RawQuery, make(chan struct{}, 1))
	return tocked.(chan struct{})
}

// short declares 1,000 bytes, sends 500 and breaks off.
func short(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-length", "1000")
	breakOff(w)
}

// abort declares no length, sends 500 bytes and breaks off.
func abort(w http.ResponseWriter, r *http.Request) { breakOff(w) }

func breakOff(w http.ResponseWriter) {
	w.Write(make([]byte, 500))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// refuse refuses the body.
func refuse(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) }

// slow begins a response that never ends, and prints when it is requested and when it is cancelled.
func slow(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("begin") {
		io.WriteString(w, "begun\n")
		_ = http.NewResponseController(w).Flush()
	}
	fmt.Printf("asked %s\n", r.URL.RawQuery)
	<-r.Context().Done()
	fmt.Printf("cancelled %s, %v\n", r.URL.RawQuery, context.Cause(r.Context()))
}

// pause waits ?ms milliseconds, and answers with its own address.
func pause(w http.ResponseWriter, r *http.Request) {
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
	case <-r.Context().Done():
	}
	fmt.Fprintln(w, r.Context().Value(http.LocalAddrContextKey))
}

// pattern sends ?n bytes.
func pattern(w http.ResponseWriter, r *http.Request) {
	left, _ := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
	w.Header().Set("content-length", strconv.FormatInt(left, 10))
	piece := make([]byte, 64<<10)
	for at := range piece {
		piece[at] = byte(at % 251)
	}
	for left > 0 {
		count, err := w.Write(piece[:min(left, int64(len(piece)))])
		if err != nil {
			return
		}
		left -= int64(count)
	}
}

// discard reads the body, and answers with its size.
func discard(w http.ResponseWriter, r *http.Request) {
	size, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintln(w, size)
}

// deaf never reads the body, and never answers.
func deaf(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
