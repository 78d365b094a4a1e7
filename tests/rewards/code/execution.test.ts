import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { openCodePool } from "../../../src/cli/sources/code.ts";
import type { CodeOutcome } from "../../../src/rewards/code/outcome.ts";
import type { CodeTest } from "../../../src/rewards/code/tests.ts";
import { HOSTILE, RARE } from "./hostile.ts";
import { endsAlone, LIMITS, printing, UNHIDE, usePools } from "./pools.ts";
import { humanEval, mbpp } from "./problems.ts";

const { pool, hurried, outcomes, printed } = usePools();

// Prints state that an earlier program could have changed: names, modules, files, random state, the next object's
// address.
const PROBE = `
import builtins, gc, hashlib, os, random, sys
files = sorted((d, tuple(f)) for d, _, f in os.walk("/") if not d.startswith("/proc"))
print([hashlib.md5(repr(x).encode()).hexdigest()[:8] for x in (
    sorted(vars(builtins)), list(sys.modules), sys.path, sorted(os.environ.items()), files, os.getcwd(),
    random.random(), hash("x"), id(object()), len(gc.get_objects()), sys.getrecursionlimit(), sorted(os.listdir("/dev")),
)])
`;

describe("programs and their tests", () => {
  test.each<[string, CodeOutcome, string, CodeTest]>([
    ["reads and prints", "passed", "print(int(input()) * 2)", printing("42", "21\n")],
    ["reads all", "passed", "import sys\nprint(sum(map(int, sys.stdin.read().split())))", printing("6", "1 2\n3\n")],
    [
      "reads lines",
      "passed",
      "import sys\nfor line in sys.stdin: print(line.strip()[::-1])",
      printing("ba\ndc", "ab\ncd"),
    ],
    ["reads file 0", "passed", "print(len(open(0).readlines()))", printing("2", "a\nb\n")],
    [
      "reads bytes",
      "passed",
      "import os, sys\nprint(sys.stdin.buffer.readline(), os.read(0, 9))",
      printing("b'a\\n' b''", "a\n"),
    ],
    ["prints what is no ASCII", "passed", "print(input(), 'Ω')", printing("ä Ω", "ä")],
    ["prints below a main guard", "passed", "if __name__ == '__main__': print(1)", printing("1")],
    ["prints at exit", "passed", "import atexit\natexit.register(print, 2)\nprint(1)", printing("1\n2")],
    ["leaves with code 0", "passed", "print(1)\nexit()", printing("1")],
    ["decimals", "passed", "print(0.50, '1e3')", printing("0.5 1000")],
    ["takes 1 e-9 for 0", "wrong_answer", "print(1e-9)", printing("0")],
    ["another number", "wrong_answer", "print(3)", printing("4")],
    ["divides by 0", "runtime_error", "print(1)\n1 / 0", printing("1")],
    ["has a fault in its syntax", "syntax_error", "def f(:\n  pass", printing("1")],
    ["a function", "passed", "def f(a, b): return a + b", { kind: "call", name: "f", args: "[1, 2]", expected: ["3"] }],
    [
      "a method",
      "passed",
      "class Solution:\n  def f(self, a): return (a, [a])",
      { kind: "call", name: "f", args: "[1]", expected: ["[1, [1]]"] },
    ],
    [
      "a tuple within",
      "wrong_answer",
      "def f(a): return [(a,)]",
      { kind: "call", name: "f", args: "[1]", expected: ["[[1]]"] },
    ],
    [
      "numbers beyond 2^53",
      "passed",
      "def f(a): return a + 1",
      { kind: "call", name: "f", args: "[9007199254740993]", expected: ["9007199254740994"] },
    ],
    [
      "a function that is not there",
      "runtime_error",
      "x = 1",
      { kind: "call", name: "f", args: "[]", expected: ["1"] },
    ],
    [
      "a set for a list",
      "wrong_answer",
      "def f(): return {1}",
      { kind: "call", name: "f", args: "[]", expected: ["[1]"] },
    ],
    [
      "what equals everything",
      "wrong_answer",
      "class A:\n  def __eq__(self, o): return True\ndef f(): return A()",
      { kind: "call", name: "f", args: "[]", expected: ["1"] },
    ],
    ["leaves before its test", "runtime_error", "import os\nos._exit(0)", { kind: "assert", code: "assert False" }],
    ["fails its test", "wrong_answer", "def f(): return 1", { kind: "assert", code: "assert f() == 2" }],
    ["raises in its test", "runtime_error", "def f(): assert False", { kind: "assert", code: "assert f() == 2" }],
  ])("%s: %s", async (_, outcome, code, one) => {
    const [result] = await pool.run({ code, tests: [one] });
    expect(result, JSON.stringify(result)).toMatchObject({ outcome });
    expect(result.message === null).toBe(outcome === "passed");
  });

  test("a result has place and reason", async () => {
    expect(await printed("x = 1\ny = x / 0")).toBe("runtime_error: line 2: ZeroDivisionError: division by zero");
    expect(await printed("x = 1\n  y = 2")).toContain("syntax_error: line 2: IndentationError");
    expect(await printed("print('a')")).toBe('wrong_answer: line 1 of the output is "a", not "nothing of the kind"');
  });

  test("the prelude's imports exist only on request", async () => {
    const task = {
      code: "def f(a: List[int]): return gcd(*a)",
      tests: [{ kind: "call", name: "f", args: "[[4, 6]]", expected: ["2"] }],
    } as const;
    expect((await pool.run({ ...task, prelude: "from typing import *\nfrom math import *" }))[0].outcome).toBe(
      "passed",
    );
    expect((await pool.run(task))[0]).toMatchObject({
      outcome: "runtime_error",
      message: expect.stringContaining("NameError"),
    });
  });

  const problems = [humanEval(), mbpp((index) => index % 100 === 7)];
  test.skipIf(!problems[0] || !problems[1])("some of HumanEval and MBPP: solutions pass, None does not", async () => {
    const some = [...problems[0]!.filter((_, i) => i % 16 === 2), ...problems[1]!];
    for (const { id, solved, mutated } of some) {
      expect([id, ...(await pool.run(solved)).map((r) => r.outcome)]).toEqual([
        id,
        ...solved.tests.map(() => "passed"),
      ]);
      expect([id, ...(await pool.run(mutated)).map((r) => r.outcome)]).not.toContain("passed");
    }
  });
});

describe("the sandbox", () => {
  test("each program starts from the same state, after any earlier program", async () => {
    const fresh = await printed(PROBE);
    expect(fresh).toMatch(/^wrong_answer: line 1 of the output is "\['[0-9a-f]{8}', /);
    const mess = `
import builtins, os, random, sys, types
builtins.print = builtins.len = None
sys.modules["math"] = sys.modules["evil"] = types.ModuleType("evil")
sys.path.append("/tmp"); os.environ["X"] = "1"; random.seed(1); sys.setrecursionlimit(77)
int.__class__; Hidden = 3; sys.stdout = None; os.read = os.write = None; open = None
`;
    for (const code of [mess, `${mess}open("/tmp/a", "w").write("x")`, `${mess}os.chdir("/tmp")`]) {
      await pool.run({ code, tests: [printing("1")] });
      expect(await printed(PROBE)).toBe(fresh);
    }
    const other = openCodePool(LIMITS, 1);
    const [{ message }] = await other.run({ code: PROBE, tests: [printing("nothing of the kind")] });
    await other.end();
    expect(`wrong_answer: ${message}`).toBe(fresh);
  });

  test.each(HOSTILE.filter(([name]) => !RARE.includes(name)))(
    "%s: %s, and the next program runs",
    async (_, outcome, code) => {
      await endsAlone({ pool, hurried }, outcome, code);
    },
  );

  test("nothing leads to the network", async () => {
    let connections = 0;
    const server = createServer((socket) => {
      connections++;
      socket.destroy();
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as { port: number };
    const url = `http://127.0.0.1:${port}/`;
    const programs = [
      `import socket\nsocket.create_connection(("127.0.0.1", ${port}))`,
      `import socket\ns = socket.socket()\ns.setblocking(False)\ns.connect(("127.0.0.1", ${port}))`,
      `import urllib.request\nurllib.request.urlopen("${url}")`,
      `import http.client\nhttp.client.HTTPConnection("127.0.0.1", ${port}).request("GET", "/")`,
      `import socket\nsocket.getaddrinfo("localhost", ${port})`,
      `from js import fetch\nfetch("${url}")`,
      `import sys\nsys.meta_path.pop(0)\nfrom pyodide.http import open_url\nopen_url("${url}")`,
      `import sys, asyncio\nsys.meta_path.pop(0)\nfrom pyodide.http import pyfetch\npyfetch("${url}").send(None)`,
    ];
    for (const code of programs)
      expect([code, ...(await outcomes(code, printing("1")))]).toEqual([code, "runtime_error"]);
    await new Promise((done) => server.close(done));
    expect(connections).toBe(0);
  });

  test("nothing leads to JavaScript, C or the host's files", async () => {
    const raised = [
      "import js",
      "import pyodide_js",
      "import _pyodide_core",
      "import ctypes",
      "import _ctypes",
      "__import__('pyodide')",
      `${UNHIDE}import js`,
      `${UNHIDE}import pyodide_js`,
      `${UNHIDE}import pyodide.code\npyodide.code.run_js("1")`,
      `${UNHIDE}import _pyodide_core\n_pyodide_core.to_js([1])`,
      `${UNHIDE}import _pyodide_core\n_pyodide_core.create_proxy(print)`,
      `${UNHIDE}import _pyodide_core\n_pyodide_core.raw_call(1)`,
      `${UNHIDE}import ctypes\nctypes.CDLL(None).emscripten_run_script(b"1")`,
      `${UNHIDE}import ctypes\nctypes.CFUNCTYPE(ctypes.c_int)(1)()`,
      "open('/etc/passwd')",
      "open('/proc/self/environ')",
      "open('/proc/1/cmdline')",
      `open(${JSON.stringify(import.meta.filename)})`,
      "import os\nos.listdir('/root')",
      "import os\nos.environ['PATH_OF_NODE']",
    ];
    for (const code of raised)
      expect([code, ...(await outcomes(code, printing("1")))]).toEqual([code, "runtime_error"]);
  });
});
