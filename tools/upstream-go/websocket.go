package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	continuation = 0x0
	text         = 0x1
	binaryData   = 0x2
	closing      = 0x8
	ping         = 0x9
	pong         = 0xA
)

// websocket sends every message back until the client closes (RFC 6455).
func websocket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("upgrade"), "websocket") {
		w.Header().Set("upgrade", "websocket")
		http.Error(w, "this is for WebSockets", http.StatusUpgradeRequired)
		return
	}
	conn, stream, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	// RFC 6455 §4.2.2: the proof that the server knows WebSockets.
	proof := sha1.Sum([]byte(r.Header.Get("sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n", base64.StdEncoding.EncodeToString(proof[:]))
	if protocol := r.Header.Get("sec-websocket-protocol"); protocol != "" {
		fmt.Fprintf(stream, "Sec-WebSocket-Protocol: %s\r\n", protocol)
	}
	fmt.Fprint(stream, "\r\n")
	if stream.Flush() != nil {
		return
	}
	err = talk(stream)
	fmt.Printf("websocket over, %v\n", err)
}

func talk(stream *bufio.ReadWriter) error {
	var message []byte
	var kind byte
	for {
		final, opcode, payload, err := readFrame(stream.Reader)
		if err != nil {
			return err
		}
		switch opcode {
		case ping:
			err = writeFrame(stream.Writer, pong, payload)
		case pong:
		case closing:
			// RFC 6455 §5.5.1: send the same status back.
			if err := writeFrame(stream.Writer, closing, payload); err != nil {
				return err
			}
			if len(payload) < 2 {
				return errors.New("closed without a status")
			}
			return fmt.Errorf("closed with %d", binary.BigEndian.Uint16(payload))
		case text, binaryData, continuation:
			if opcode != continuation {
				kind = opcode
			}
			message = append(message, payload...)
			if final {
				err = writeFrame(stream.Writer, kind, message)
				message = nil
			}
		default:
			return fmt.Errorf("frame of kind %d", opcode)
		}
		if err != nil {
			return err
		}
	}
}

func readFrame(reader *bufio.Reader) (final bool, opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err = io.ReadFull(reader, head[:]); err != nil {
		return
	}
	final, opcode = head[0]&0x80 != 0, head[0]&0x0f
	if head[1]&0x80 == 0 {
		err = errors.New("a client's frame without a mask")
		return
	}
	length := uint64(head[1] & 0x7f)
	if extra := map[uint64]int{126: 2, 127: 8}[length]; extra > 0 {
		var long [8]byte
		if _, err = io.ReadFull(reader, long[8-extra:]); err != nil {
			return
		}
		length = binary.BigEndian.Uint64(long[:])
	}
	if length > 16<<20 {
		err = errors.New("a frame of more than 16 MB")
		return
	}
	var mask [4]byte
	if _, err = io.ReadFull(reader, mask[:]); err != nil {
		return
	}
	payload = make([]byte, length)
	if _, err = io.ReadFull(reader, payload); err != nil {
		return
	}
	for at := range payload {
		payload[at] ^= mask[at%4]
	}
	return
}

func writeFrame(writer *bufio.Writer, opcode byte, payload []byte) error {
	head := []byte{0x80 | opcode}
	switch length := len(payload); {
	case length < 126:
		head = append(head, byte(length))
	case length < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(length))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(length))
	}
	if _, err := writer.Write(append(head, payload...)); err != nil {
		return err
	}
	return writer.Flush()
}
