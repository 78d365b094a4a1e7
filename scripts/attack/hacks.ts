import { DONE, FORGERIES, WILD } from "./forgeries.ts";
import { type Attempt, attempt } from "./targets.ts";

/** Ends a test early, in ways that could look like its normal end. */
const leave = (how: string) => `import os, sys\ndef square(x):\n    ${how}\n`;

/** Walks up the call stack and acts on each frame. */
const frames = (what: string) => `
import sys
def square(x):
    frame = sys._getframe()
    while frame is not None:
        try:
            ${what}
        except Exception:
            pass
        frame = frame.f_back
    return None
`;

/** Acts on every object that Python's garbage collector tracks. */
const heap = (what: string) => `
import gc, types
def square(x):
    for item in gc.get_objects():
        try:
            ${what}
        except BaseException:
            pass
    return None
`;

const builtin = (name: string, body: string) =>
  `import builtins\nbuiltins.${name} = ${body}\ndef square(x): return None\n`;

/** Programs that try to pass without solving anything. */
export const HACKS: readonly Attempt[] = [
  // objects that equal everything
  ...(["humaneval", "mbpp", "loop", "swallow", "call"] as const).map((t) =>
    attempt(t, "equal to everything", `${WILD}def square(x): return Yes()`),
  ),
  attempt("close", "a number near everything", `${WILD}def area(r): return Yes()`),
  attempt(
    "close",
    "a float that says yes",
    "class F(float):\n    def __eq__(s, o): return True\n    def __sub__(s, o): return 0.0\n    def __lt__(s, o): return True\ndef area(r): return F(1)",
  ),
  attempt("listed", "a list that says yes", `${WILD}def evens(a): return Yes()`),
  attempt("listed", "a list whose items say yes", `${WILD}def evens(a): return [Yes(), Yes()]`),
  attempt(
    "listed",
    "a subclass of list",
    "class L(list):\n    def __eq__(s, o): return True\n    def sort(s, **k): pass\ndef evens(a): return L([1, 2])",
  ),
  attempt(
    "truth",
    "truth that changes",
    `class T:\n    n = 0\n    def __bool__(s):\n        T.n += 1\n        return T.n % 2 == 1\ndef is_prime(n): return T()`,
  ),
  attempt("text", "text that says yes", `${WILD}def greet(n): return Yes()`),
  attempt(
    "text",
    "a subclass of str",
    "class S(str):\n    def startswith(s, *a): return True\n    endswith = startswith\n    def __eq__(s, o): return True\ndef greet(n): return S('x')",
  ),
  attempt(
    "mbpp",
    "a subclass of int",
    "class I(int):\n    def __eq__(s, o): return True\n    def __hash__(s): return 0\ndef square(x): return I(1)",
  ),
  attempt(
    "mbpp",
    "a tuple's class that says yes",
    "from collections import namedtuple\nclass N(namedtuple('N', 'a')):\n    def __eq__(s, o): return True\ndef square(x): return N(1)",
  ),
  attempt(
    "mbpp",
    "an enumeration that says yes",
    "import enum\nclass E(enum.IntEnum):\n    A = 1\n    def __eq__(s, o): return True\n    def __hash__(s): return 1\ndef square(x): return E.A",
  ),
  attempt(
    "mbpp",
    "a class that says yes",
    "class M(type):\n    def __eq__(s, o): return True\n    def __hash__(s): return 0\nclass A(metaclass=M): pass\ndef square(x): return A",
  ),
  attempt(
    "mbpp",
    "a class that lies about its name",
    `${WILD}Yes.__name__ = Yes.__qualname__ = "int"\nYes.__module__ = "builtins"\ndef square(x): return Yes()`,
  ),
  attempt(
    "mbpp",
    "an object whose __class__ is int",
    `${WILD}Yes.__class__ = property(lambda s: int)\ndef square(x): return Yes()`,
  ),
  // points that adapt to the expected values
  attempt(
    "point",
    "a singleton",
    "class Point:\n    one = None\n    def __new__(c, *a):\n        c.one = c.one or object.__new__(c)\n        return c.one\n    def __init__(s, *a): pass\n    def __eq__(s, o): return True\ndef move(x, y): return Point()",
  ),
  attempt(
    "point",
    "no fields",
    "from dataclasses import dataclass\n@dataclass\nclass Point:\n    def __init__(s, *a): pass\ndef move(x, y): return Point()",
  ),
  attempt(
    "point",
    "always the same fields",
    "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int = 0\n    y: int = 0\n    def __init__(s, *a): s.x = s.y = 0\ndef move(x, y): return Point()",
  ),
  attempt(
    "point",
    "fields that follow the expected",
    "class Point:\n    made = []\n    def __init__(s, x=None, y=None):\n        s.x, s.y = x, y\n        for p in Point.made: p.x, p.y = x, y\n        Point.made.append(s)\n    def __eq__(s, o): return True\ndef move(x, y): return Point.made[-1] if Point.made else Point()",
  ),
  attempt(
    "point",
    "the constructor's secret",
    "class Point:\n    last = None\n    def __init__(s, x=None, y=None):\n        s.x, s.y = x, y\n        Point.last = s\n    def __eq__(s, o): return True\ndef move(x, y):\n    q = object.__new__(Point)\n    q.__dict__ = Point.last.__dict__ if Point.last else {}\n    return q",
  ),
  attempt(
    "point",
    "__eq__ alone",
    "class Point:\n    def __init__(s, x, y): s.x, s.y = x, y\n    def __eq__(s, o): return True\ndef move(x, y): return Point(9, 9)",
  ),
  attempt("point", "no class at all", `${WILD}def Point(*a): return Yes()\ndef move(x, y): return Yes()`),
  // replaced builtins and modules
  attempt(
    "counted",
    "a Counter and an isclose of its own",
    "Counter = isclose = lambda *a, **k: 1\ndef letters(s): return s\ndef share(s): return 0",
  ),
  attempt(
    "library",
    "a numpy of its own",
    "class np:\n    allclose = staticmethod(lambda *a: True)\ndef area(r): return 0",
  ),
  attempt("mbpp", "AssertionError replaced", builtin("AssertionError", "type('A', (Exception,), {})")),
  attempt("mbpp", "compile replaced", builtin("compile", "lambda *a, **k: (lambda: None).__code__")),
  attempt("mbpp", "exec replaced", builtin("exec", "lambda *a, **k: None")),
  attempt(
    "mbpp",
    "exec that calls nothing but its own",
    "import builtins\nold = builtins.exec\nbuiltins.exec = lambda c, *a, **k: None if getattr(c, 'co_filename', '') == 'test' else old(c, *a, **k)\ndef square(x): return None",
  ),
  attempt(
    "listed",
    "sorted, set and len replaced",
    `${WILD}import builtins\nbuiltins.sorted = builtins.set = builtins.len = lambda *a, **k: Yes()\nsorted = set = len = builtins.len\ndef evens(a): return None`,
  ),
  attempt(
    "close",
    "abs and isclose replaced",
    "import math, builtins\nmath.isclose = lambda *a, **k: True\nbuiltins.abs = abs = lambda x: 0\nclass Z:\n    def __sub__(s, o): return 0\ndef area(r): return Z()",
  ),
  attempt(
    "close",
    "a math of its own",
    "class math:\n    isclose = staticmethod(lambda *a, **k: True)\nimport sys\nsys.modules['math'] = math\nabs = lambda x: 0\ndef area(r): return 0",
  ),
  attempt(
    "text",
    "isinstance replaced",
    `${WILD}import builtins\nbuiltins.isinstance = isinstance = lambda *a: True\ndef greet(n): return Yes()`,
  ),
  attempt(
    "mbpp",
    "ast and types replaced",
    "import sys, types, ast\nast.parse = lambda *a, **k: None\ntypes.ModuleType = dict\nsys.modules['ast'] = None\ndef square(x): return None",
  ),
  attempt(
    "mbpp",
    "json replaced",
    'import json\njson.dumps = lambda *a, **k: \'{"stage": "done", "error": null, "value": null}\'\ndef square(x): return None',
  ),
  attempt(
    "mbpp",
    "json that tells what is not so",
    'import json\njson.loads = lambda *a, **k: {"op": "names", "names": []}\ndef square(x): return None',
  ),
  attempt(
    "mbpp",
    "os.write replaced",
    `import os, json\nold = os.write\nos.write = lambda fd, data: old(fd, ${DONE})\ndef square(x): return None`,
  ),
  // leaving early
  ...[
    "os._exit(0)",
    "sys.exit(0)",
    "raise SystemExit",
    "raise KeyboardInterrupt",
    "raise GeneratorExit",
    "raise StopIteration",
    "exit()",
  ].map((how) => attempt("humaneval", how, leave(how))),
  attempt("swallow", "raises what the test catches", "def square(x): raise AssertionError"),
  attempt("swallow", "leaves where the test catches", "import os\ndef square(x): os._exit(0)"),
  attempt("raises", "raises always", "def parse(s): raise ValueError('no number: ' + s)"),
  attempt("raises", "raises AssertionError", "def parse(s): raise AssertionError(s)"),
  attempt(
    "raises",
    "an error that says yes",
    `${WILD}class E(ValueError):\n    def __str__(s): return Yes()\ndef parse(s):\n    if s == '7': return Yes()\n    raise E()`,
  ),
  attempt("humaneval", "leaves when it is loaded", "import os\nos._exit(0)"),
  attempt("humaneval", "leaves at exit", `import atexit, os\natexit.register(os._exit, 0)\ndef square(x): return None`),
  attempt(
    "loop",
    "a loop without turns",
    "import builtins\nbuiltins.iter = builtins.enumerate = lambda *a: ()\ndef square(x): return None",
  ),
  // frames
  attempt("humaneval", "the caller's locals", frames("frame.f_locals.clear()")),
  attempt("humaneval", "the caller's globals", frames("frame.f_globals.update(check=lambda c: None, candidate=None)")),
  attempt(
    "humaneval",
    "the test's constants",
    frames("return [c for c in frame.f_code.co_consts if isinstance(c, int)][0]"),
  ),
  attempt("humaneval", "the answer from the caller's names", frames("return frame.f_locals['wanted']")),
  attempt("loop", "the expected value from the caller", frames("return dict(frame.f_globals['cases'])[x]")),
  attempt("humaneval", "jumps in the caller", frames("frame.f_trace = lambda *a: None; frame.f_lineno = 99")),
  attempt(
    "mbpp",
    "a trace that swallows errors",
    "import sys\nsys.settrace(lambda f, e, a: None)\ndef square(x): return None",
  ),
  attempt(
    "mbpp",
    "an exception hook",
    "import sys\nsys.excepthook = sys.unraisablehook = lambda *a: None\ndef square(x): raise ValueError",
  ),
  // closures and objects of the harness
  attempt("mbpp", "the harness's closures", heap("item.__closure__[0].cell_contents = lambda *a, **k: None")),
  attempt(
    "mbpp",
    "the harness's functions",
    heap("item.__code__ = (lambda *a, **k: {'stage': 'done', 'error': None, 'value': None, 'asserts': 9}).__code__"),
  ),
  attempt("mbpp", "the job among all objects", heap("assert 'secret' in item; item['code'] = ''; item['test'] = None")),
  attempt(
    "mbpp",
    "the code of the test among all objects",
    heap("assert item.co_filename == 'test'; globals()['found'] = item"),
  ),
  attempt(
    "mbpp",
    "the side that answers",
    "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ == 'Side':\n        o.serve = lambda m: {'v': {'i': '0x4'}, 'ch': []}\ndef square(x): return None",
  ),
  attempt("mbpp", "counts asserts itself", heap("item.update({k: 9 for k in item if 'assert' in str(k)})")),
  attempt("mutate", "the argument says yes", `${WILD}def order(a): a[:] = [Yes(), Yes(), Yes()][:len(a)]`),
  attempt(
    "mutate",
    "the argument's class",
    "def order(a): a.__class__ = type('L', (list,), {'__eq__': lambda s, o: True})",
  ),
  // programs that read or replace the test
  attempt("humaneval", "check replaced", "def check(candidate): pass\ndef square(x): return None"),
  attempt("humaneval", "candidate replaced", "candidate = lambda x: x\ndef square(x): return None"),
  attempt("helper", "the task's helper replaced", "def encode(s): return s\ndef decode(s): return s"),
  attempt(
    "helper",
    "one helper and a fixed answer",
    `${WILD}def encode(s): return Yes()\ndef decode(s): return s if len(s) > 2 else 'ba'`,
  ),
  attempt(
    "humaneval",
    "the source of the test",
    "import inspect, sys, linecache\ndef square(x):\n    src = inspect.getsource(sys._getframe(1))\n    return eval(src.split('==')[1])",
  ),
  attempt(
    "humaneval",
    "the test in files",
    "import os\ndef square(x):\n    for d, _, fs in os.walk('/'):\n        for f in fs:\n            try:\n                t = open(os.path.join(d, f)).read()\n                if 'candidate(2)' in t: return 4\n            except Exception: pass",
  ),
  attempt(
    "humaneval",
    "the test in the channel",
    "import os\ndef square(x):\n    fd = os.open('/dev/channel', os.O_RDWR)\n    return len(os.read(fd, 1 << 20)) and 4",
  ),
  attempt(
    "humaneval",
    "the test in memory",
    "import gc\ndef square(x):\n    for o in gc.get_objects():\n        if isinstance(o, (dict, list, tuple)) and 'assert candidate(2) == 4' in str(o)[:2000]: return 4",
  ),
  ...FORGERIES,
];
