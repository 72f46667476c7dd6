import pytest

from benchmarks.load.profiling import Frame, place, read_stacks

KERNEL, PYTHON, BUILD = "[kernel.kallsyms]", "/usr/lib/libpython3.11.so.1.0", "/venv/lib/abc__mypyc.cpython-311.so"
PRINTED = """\
\tffffffff81b6ccb0 _copy_to_iter ([kernel.kallsyms])
\tffffffff816bb8da ksys_read ([kernel.kallsyms])
\tffffffff81000130 entry_SYSCALL_64_after_hwframe ([kernel.kallsyms])
\t           f82ec read (/usr/lib/x86_64-linux-gnu/libc.so.6)

\t           b0460 CPyDef_reader___Reader___on_body (/venv/lib/abc__mypyc.cpython-311.so)

\t               0 [unknown] ([unknown])
"""


def test_perf_s_samples_are_read_from_where_they_were_taken_to_the_root() -> None:
    read, body, unknown = read_stacks(PRINTED.splitlines())

    assert [frame.symbol for frame in read] == ["_copy_to_iter", "ksys_read", "entry_SYSCALL_64_after_hwframe", "read"]
    assert body == [Frame("CPyDef_reader___Reader___on_body", "/venv/lib/abc__mypyc.cpython-311.so")]
    assert unknown == [Frame("[unknown]", "[unknown]")]


def test_what_the_kernel_does_belongs_to_the_call_at_its_root() -> None:
    inner = [Frame("tcp_ack", KERNEL), Frame("__sys_sendto", KERNEL), Frame("__x64_sys_sendmsg", KERNEL)]
    assert place(inner) == "kernel: sendmsg"
    assert place([Frame("handle_softirqs", KERNEL), Frame("asm_sysvec_apic", KERNEL)]) == "kernel: the rest"


@pytest.mark.parametrize(
    ("symbol", "file", "told"),
    [
        ("CPyDef_reader___Reader___on_body", BUILD, "Crossfade: reader"),
        ("CPyPy_turn___Turn___finish", BUILD, "Crossfade: turn"),
        ("CPy_DecRef", BUILD, "Crossfade: mypyc's runtime"),
        ("uv__io_poll", "/venv/lib/python3.11/uvloop/loop.cpython-311.so", "uvloop: the loop, transports, libuv"),
        ("llhttp__internal__run", "/venv/lib/python3.11/httptools/parser/parser.so", "httptools: the parser"),
        ("_PyEval_EvalFrameDefault", PYTHON, "CPython: plain Python"),
        ("_PyObject_Malloc", PYTHON, "CPython: memory"),
        ("tupledealloc", PYTHON, "CPython: memory"),
        ("_Py_dict_lookup", PYTHON, "CPython: attributes, dicts"),
        ("PyObject_Vectorcall", PYTHON, "CPython: calls"),
        ("bytes_concat", PYTHON, "CPython: values"),
        ("take_gil", PYTHON, "CPython: the rest"),
        ("memcpy", "/usr/lib/x86_64-linux-gnu/libc.so.6", "libc: memory, copies"),
        ("x", "/tmp/y.so", "other"),
    ],
)
def test_what_a_library_does_belongs_to_it(symbol: str, file: str, told: str) -> None:
    assert place([Frame(symbol, file)]) == told
