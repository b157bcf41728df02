"""Runs a command under a seccomp filter that refuses io_uring_setup with EPERM, as container runtimes do by default."""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
REFUSE_WITH_EPERM, ALLOW = 0x00050000 | 1, 0x7FFF0000
IO_URING_SETUP = 425  # the same on every architecture


def step(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)


program = b"".join(
    (
        step(LOAD_WORD, 0),  # seccomp_data.nr
        step(JUMP_IF_EQUAL, IO_URING_SETUP, 0, 1),
        step(RETURN, REFUSE_WITH_EPERM),
        step(RETURN, ALLOW),
    )
)
steps = ctypes.create_string_buffer(program)
filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(steps)))
libc = ctypes.CDLL(None, use_errno=True)
for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_)):
    if libc.prctl(*call) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
