import { type Attempt, attempt } from "./targets.ts";

export const WILD = `
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __hash__(self): return 0
    def __bool__(self): return True
    def __len__(self): return 2
    def __abs__(self): return self
    def __float__(self): return 3.14159
    def __sub__(self, other): return 0.0
    __rsub__ = __add__ = __radd__ = __mul__ = __sub__
    def __iter__(self): return iter(())
    def __getattr__(self, name): return lambda *a, **k: True
    def __call__(self, *a, **k): return self
`;

const channel = (path: string, text: string) => `
import os, json
def square(x):
    fd = os.open(${JSON.stringify(path)}, os.O_RDWR)
    os.write(fd, ${text})
    os.read(fd, 1 << 16)
    return None
`;

/** Replaces the answers that the test's side receives. */
const answers = (body: string) => `
import gc
def square(x): return None
def area(r): return 0
def answer(m, old):
    r = old(m)
${body.replace(/^/gm, "    ")}
    return r
for item in gc.get_objects():
    if type(item).__name__ == 'Side':
        item.serve = lambda m, old=item.serve: answer(m, old)
`;

export const DONE = `json.dumps({"stage": "done", "error": None, "value": None, "asserts": 3, "secret": ""}).encode()`;

/** Programs that forge answers and reports: see `HACKS`. */
export const FORGERIES: readonly Attempt[] = [
  // answers forged
  attempt(
    "close",
    "more names than requested",
    answers("if m['op'] == 'names': r['v'] += [[n, {'g': 'bool'}] for n in ('abs', 'math', 'area', '__builtins__')]"),
  ),
  attempt(
    "mbpp",
    "an enumeration made of methods",
    answers(
      "if m['op'] == 'call': r['v'] = {'e': [{'h': 99, 'k': 'c', 'name': 'E', 'bases': [], 'ops': [], 'enum': ['Enum', [['A', 1], ['__eq__', {'g': 'bool'}]]]}, 'A']}",
    ),
  ),
  attempt(
    "mbpp",
    "a named tuple made of methods",
    answers(
      "if m['op'] == 'call': r['v'] = {'n': [{'h': 99, 'k': 'c', 'name': 'N', 'bases': [], 'ops': [], 'tuple': [['__eq__'], []]}, [{'g': 'bool'}]]}",
    ),
  ),
  attempt(
    "mbpp",
    "an object that claims to be equal",
    answers(
      "if m['op'] == 'call': r['v'] = {'h': 99, 'k': 'o', 'c': {'h': 98, 'k': 'c', 'name': 'int', 'bases': [{'g': 'int'}], 'ops': ['__eq__', '__ne__', '__hash__']}, 's': []}",
    ),
  ),
  attempt(
    "mbpp",
    "an error with a forged class",
    answers(
      "if m['op'] == 'call': r.clear(); r['error'] = {'x': 'ValueError', 'c': None, 'a': [], 'w': [['__class__', {'g': 'SystemExit'}]], 'told': {'exit': 0}}",
    ),
  ),
  attempt(
    "mbpp",
    "an error that tells nothing",
    answers(
      "if m['op'] == 'call': r.clear(); r['error'] = {'x': 'SystemExit', 'c': None, 'a': [], 'w': [], 'told': None}",
    ),
  ),
  attempt("mbpp", "an exit with code 0", answers("if m['op'] == 'call': r.clear(); r['exit'] = 0")),
  attempt("mbpp", "no answer", answers("if m['op'] == 'call': return None")),
  attempt("mbpp", "an object from the test's side", answers("if m['op'] == 'call': r['v'] = {'y': 0}")),
  attempt(
    "mbpp",
    "containers that nobody sent",
    answers("if m['op'] == 'call': r['ch'] = [[-1, {'l': []}], [0, {'d': []}]]"),
  ),
  attempt(
    "close",
    "a forged isclose",
    "isclose = lambda *a, **k: True\nclass np:\n    isclose = allclose = isclose\ndef area(r): return 0",
  ),
  // reports forged
  ...["/dev/channel", "/dev/peer"].flatMap((path) => [
    attempt("mbpp", `a verdict in ${path}`, channel(path, DONE)),
    attempt("mbpp", `noise in ${path}`, channel(path, "b'zz' * 1000")),
    attempt(
      "mbpp",
      `a test of its own in ${path}`,
      channel(path, `json.dumps({"kind": "test", "code": "", "given": "", "entry": None, "secret": ""}).encode()`),
    ),
    attempt(
      "mbpp",
      `an object of the test's in ${path}`,
      channel(path, `json.dumps({"op": "special", "of": 0, "name": "__call__", "a": [], "k": []}).encode()`),
    ),
  ]),
  attempt(
    "mbpp",
    "a report and then the end",
    `import os, json\nfd = os.open('/dev/channel', os.O_RDWR)\nos.write(fd, ${DONE})\nos.close(fd)\nimport faulthandler\nfaulthandler._sigsegv()`,
  ),
  attempt(
    "call",
    "a value that is no number",
    `import os\nfd = os.open('/dev/channel', os.O_RDWR)\nos.write(fd, b'{"stage": "done", "error": null, "value": {"int": "zz"}}')\nos.close(fd)\ndef square(x): os._exit(0)`,
  ),
  attempt(
    "call",
    "an answer of its own",
    "import json\nold = json.dumps\njson.dumps = lambda v, *a, **k: old({**v, 'stage': 'done', 'error': None, 'value': True}) if isinstance(v, dict) and 'stage' in v else old(v)\ndef square(x): return None",
  ),
  attempt("stdin", "prints every number", "for i in range(1000): print(i)"),
  attempt("stdin", "an output that says yes", `${WILD}print(Yes())`),
  attempt(
    "stdin",
    "looks for the expected text",
    "import gc, sys\nn = input()\nfor o in gc.get_objects():\n    if isinstance(o, dict) and 'output' in o: print(o['output'])",
  ),
];
