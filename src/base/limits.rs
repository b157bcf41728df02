//! Every constant limit of the data path in one place, each with its reason.
//!
//! Limits that a user can set live in the `Proxy` document; these are fixed in the code.

use std::time::Duration;

/// Bytes of a fresh head buffer: nearly every request and response head fits, and it is one page.
pub const HEAD_BUFFER_BYTES: usize = 4096;

/// Bytes of a body buffer. This one and the larger ones have room for a head beside a body whose size is a power of two: most
/// senders write the two as one.
pub const BODY_BUFFER_BYTES: usize = (16 + 4) * 1024;

/// Bytes of the buffer of a body that flows, or is known to be large.
pub const BULK_BUFFER_BYTES: usize = (64 + 4) * 1024;

/// Bytes of the buffer of a body that fills that.
pub const HUGE_BUFFER_BYTES: usize = (256 + 4) * 1024;

/// Bytes of a request's body that are still sent on once it has been answered, so that both connections can be used again,
/// if they come within [`LINGERING_PATIENCE`].
pub const LINGERING_BYTES: u64 = 64 * 1024;

/// See [`LINGERING_BYTES`].
pub const LINGERING_PATIENCE: Duration = Duration::from_secs(1);

/// Memory that one core spends on bulk and huge buffers of bodies under way. Above it bodies flow through smaller ones.
pub const LARGE_BUFFERS_CORE_BYTES: usize = 64 << 20;

/// Memory that one core spends on idle connections whose next message is expected to be larger than a head buffer. Above it
/// they wait with a head buffer.
pub const ROOMY_READS_CORE_BYTES: usize = 16 << 20;

/// Default of `limits.maxHeaderBytes`: Envoy's 60 KiB, the request line included.
pub const MAX_HEADER_BYTES: usize = 60 * 1024;

/// Default of `limits.maxHeaders`: Envoy's 100 lines, `Host` counted.
pub const MAX_HEADERS: usize = 100;

/// Largest size line of a chunk, extensions included, and largest trailer section. Both are discarded, so a longer one
/// only wastes the proxy's time.
pub const MAX_CHUNK_LINE_BYTES: usize = 4096;

/// Bytes of a request's body that are kept to be sent again, at most: Envoy's buffer limit, reached and not passed.
pub const REPLAY_BODY_BYTES: u64 = 1 << 20;

/// Memory that one core spends on kept bodies, all its requests together. Above it a request is sent on and not kept:
/// many slow uploads at once must not take the machine's memory for retries that hardly ever come.
pub const REPLAY_CORE_BYTES: usize = 64 << 20;

/// Times that a request may pass through one ringway before it counts as a request loop (508). Egress through a gateway of
/// the same process is two. More are legitimate if applications copy request headers into their own requests, and all
/// share one ringway; each pass holds two connections, so a loop must be short.
pub const MOST_PASSES: u32 = 10;

/// Ringways that a request may have passed through, each once or more. No path is so long; the bound is for the header.
pub const MOST_RINGWAYS: usize = 32;

/// First bytes of a redirected connection that are inspected for its protocol: a request line or a TLS ClientHello. A
/// connection that is undecided by then is not HTTP.
pub const MOST_FIRST_BYTES: usize = 16 * 1024;

/// Bytes that a mirrored request may lag behind the original before it is given up. Several times the bytes that arrive
/// during a connect, so that a mirror as fast as the original always gets the whole body.
pub const MIRROR_BODY_BYTES: usize = 4 << 20;

/// Memory that one core spends on bodies that mirrors have not taken yet, all copies together: as for kept bodies.
pub const MIRROR_CORE_BYTES: usize = 64 << 20;

/// Copies of requests that one core has under way, at most: each holds a connection and up to 24 KiB of buffers, and a
/// mirror that never answers must cost no more than that. Fewer where descriptors are scarce ([`MIRROR_DESCRIPTORS`]).
pub const MIRRORS_PER_CORE: usize = 1024;

/// One in this many descriptors may belong to mirrored requests, all cores together: the others are left for clients and
/// upstreams.
pub const MIRROR_DESCRIPTORS: u64 = 8;

/// How long a mirrored request may outlive its original if the route has no timeout (Istio's default). Envoy waits for
/// ever, and so collects hanging requests.
pub const MIRROR_PATIENCE: Duration = Duration::from_secs(60);

/// The number of requests with different mirror responses that the admin endpoints show: the last ones.
pub const MIRROR_DIFFS: usize = 50;
