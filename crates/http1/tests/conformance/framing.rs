//! Framing that is refused in requests and in responses alike, because recipients disagree about
//! the length.

use tidegate_http::Violation;

use Violation as V;

/// Name, further field lines, body, and the violation.
pub(crate) type Vector = (&'static str, &'static [u8], &'static [u8], Violation);

pub(crate) const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";

pub(crate) const EITHER_WAY: &[Vector] = &[
    // Framing that contradicts itself.
    (
        "CL.TE",
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        b"0\r\n\r\nX",
        V::ContentLengthWithTransferEncoding,
    ),
    (
        "TE.TE",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE.TE, chunked last",
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        V::TransferCodingUnknown,
    ),
    (
        "CL.CL",
        b"Content-Length: 0\r\nContent-Length: 44\r\n",
        b"",
        V::ContentLengthRepeated,
    ),
    (
        "CL list",
        b"Content-Length: 0, 44\r\n",
        b"",
        V::ContentLengthRepeated,
    ),
    (
        "CL list, the same but one",
        b"Content-Length: 5, 5\r\nContent-Length: 6\r\n",
        b"hello",
        V::ContentLengthRepeated,
    ),
    // Lengths that some recipients read and others don't.
    (
        "CL minus",
        b"Content-Length: -5\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL minus zero",
        b"Content-Length: -0\r\n",
        b"",
        V::ContentLengthInvalid,
    ),
    (
        "CL double zero",
        b"Content-Length: 00\r\n",
        b"",
        V::ContentLengthInvalid,
    ),
    (
        "CL hexadecimal",
        b"Content-Length: 0x5\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL underscore",
        b"Content-Length: 1_0\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL inner space",
        b"Content-Length: 1 0\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL non-numeric",
        b"Content-Length: 5a\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL empty",
        b"Content-Length:\r\n",
        b"",
        V::ContentLengthInvalid,
    ),
    (
        "CL by NUL",
        b"Content-Length: 5\x00\r\n",
        b"hello",
        V::FieldLineInvalid,
    ),
    // Field lines that some recipients take for Transfer-Encoding or Content-Length.
    (
        "CL space before colon",
        b"Content-Length : 5\r\n",
        b"hello",
        V::FieldLineInvalid,
    ),
    (
        "TE tab before colon",
        b"Transfer-Encoding\t: chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "TE leading space",
        b" Transfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineFolded,
    ),
    (
        "TE folded",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineFolded,
    ),
    (
        "TE folded in the middle",
        b"Transfer-Encoding: chun\r\n\tked\r\n",
        b"0\r\n\r\n",
        V::FieldLineFolded,
    ),
    (
        "CL folded",
        b"Content-Length: 5\r\n 0\r\n",
        b"hello",
        V::FieldLineFolded,
    ),
    (
        "TE behind a bare LF",
        b"X: y\nTransfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        V::LineEndInvalid,
    ),
    (
        "TE behind a name",
        b"Foo\r\nTransfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    ("empty name", b": chunked\r\n", b"", V::FieldLineInvalid),
    (
        "a value that ends in CR",
        b"X: a\r\r\n",
        b"",
        V::LineEndInvalid,
    ),
    // Codings that some recipients take for chunked.
    (
        "TE x",
        b"Transfer-Encoding: xchunked\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE double chunked",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE leading comma",
        b"Transfer-Encoding: ,chunked\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE trailing comma",
        b"Transfer-Encoding: chunked,\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE empty",
        b"Transfer-Encoding:\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE quoted",
        b"Transfer-Encoding: \"chunked\"\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE with a parameter",
        b"Transfer-Encoding: chunked;q=1\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE NUL",
        b"Transfer-Encoding: chunked\x00\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "TE no-break space",
        b"Transfer-Encoding: \xa0chunked\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    // Chunks.
    (
        "chunk 0x",
        CHUNKED,
        b"0x5\r\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk plus",
        CHUNKED,
        b"+5\r\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk minus",
        CHUNKED,
        b"-1\r\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk leading space",
        CHUNKED,
        b" 5\r\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk trailing space",
        CHUNKED,
        b"5 \r\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk bare semicolon",
        CHUNKED,
        b"5;\r\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    ("chunk size of none", CHUNKED, b"\r\n\r\n", V::ChunkInvalid),
    (
        "extension by bare LF (TERM.EXT)",
        CHUNKED,
        b"2;\nxx\r\n22\r\nc\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk data ends by bare LF",
        CHUNKED,
        b"5\r\nhello\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk data ends by nothing",
        CHUNKED,
        b"5\r\nhello0\r\n\r\n",
        V::ChunkInvalid,
    ),
    ("last chunk by bare LF", CHUNKED, b"0\n\n", V::ChunkInvalid),
    (
        "trailers end by bare LF",
        CHUNKED,
        b"0\r\n\n",
        V::LineEndInvalid,
    ),
];
