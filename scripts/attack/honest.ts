import type { CodeTask } from "../../src/rewards/code/tests.ts";
import { testsOf } from "../../src/rewards/code/tests.ts";

const mbpp = (name: string, code: string, ...tests: string[]): { name: string; task: CodeTask } => ({
  name,
  task: { ...testsOf({ test_list: tests }), code },
});

const checked = (name: string, entry_point: string, code: string, body: string, prompt = "") => ({
  name,
  task: { ...testsOf({ prompt, test: `def check(candidate):\n${body.replace(/^/gm, "    ")}\n`, entry_point }), code },
});

const DATACLASS =
  "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Point:\n    x: int\n    y: int = 0\ndef move(x, y): return Point(x + 1, y + 1)";

/** Correct programs, with every kind of value that a test may check. All must pass. */
export const HONEST: readonly { name: string; task: CodeTask }[] = [
  mbpp("a number", "def f(x): return x * x", "assert f(3) == 9", "assert f(-3) == 9 and f(0) == 0"),
  mbpp("a large number", "def f(x): return x ** 40 + 1", "assert f(10) == 10 ** 40 + 1", "assert f(2) != 2 ** 40"),
  mbpp("a float", "def f(x): return x / 3", "assert abs(f(1) - 0.3333333) < 1e-6", "assert f(3) == 1"),
  mbpp(
    "isclose",
    "import math\ndef area(r): return math.pi * r * r",
    "import math\nassert math.isclose(area(1), 3.14159265, rel_tol=1e-6)",
    "assert math.isclose(area(2), 12.566370614)",
  ),
  mbpp(
    "infinity and no number",
    "def f(x): return float(x)",
    "assert f('inf') == float('inf')",
    "assert f('nan') != f('nan')",
  ),
  mbpp("a complex number", "def f(x): return complex(x, -1)", "assert f(2) == 2 - 1j"),
  mbpp("a tuple", "def f(x): return x, [x], (x, (x,))", "assert f(1) == (1, [1], (1, (1,)))"),
  mbpp("a set", "def f(x): return {a % 3 for a in x}", "assert f([1, 2, 4]) == {1, 2}", "assert f([]) == set()"),
  mbpp("a frozen set in a set", "def f(x): return {frozenset(x)}", "assert f([1, 2]) == {frozenset({2, 1})}"),
  mbpp(
    "a dictionary of tuples",
    "def f(x): return {(a, a): str(a) for a in x}",
    "assert f([1]) == {(1, 1): '1'}\nassert list(f([2, 1])) == [(2, 2), (1, 1)]",
  ),
  mbpp(
    "nested lists",
    "def f(n): return [[i * j for j in range(n)] for i in range(n)]",
    "assert f(3) == [[0, 0, 0], [0, 1, 2], [0, 2, 4]]\nassert f(2)[1][1] == 1",
  ),
  mbpp(
    "text",
    "def f(s): return s[::-1] + 'ä😀'",
    "assert f('ab') == 'baä😀'",
    "assert f('x').startswith('x') and len(f('')) == 2",
  ),
  mbpp("bytes", "def f(s): return s.encode(), bytearray(s.encode())", "assert f('a') == (b'a', bytearray(b'a'))"),
  mbpp("None", "def f(x): return None", "assert f(1) is None", "assert f(1) == None"),
  mbpp(
    "truth",
    "def f(n): return n > 1 and all(n % d for d in range(2, n))",
    "assert f(7)\nassert not f(8)",
    "assert f(9) is False and f(11) is True",
  ),
  mbpp(
    "a range and a generator",
    "def f(n): return range(n)\ndef g(n):\n    for i in range(n): yield i * i",
    "assert f(3) == range(3) and list(f(3)) == [0, 1, 2]",
    "assert list(g(3)) == [0, 1, 4] and sum(g(4)) == 14",
  ),
  mbpp(
    "a generator without end",
    "import itertools\ndef g():\n    yield from itertools.count(1)",
    "it = g()\nassert [next(it) for _ in range(3)] == [1, 2, 3]\nassert next(it) == 4",
  ),
  mbpp(
    "a map and a view",
    "def f(x): return map(str, x)\ndef g(d): return d.keys()",
    "assert list(f([1])) == ['1'] and ''.join(f([1, 2])) == '12'",
    "assert sorted(g({2: 1, 1: 1})) == [1, 2] and g({1: 1}) == {1}",
  ),
  mbpp(
    "fractions, decimals, dates",
    "from fractions import Fraction\nfrom decimal import Decimal\nimport datetime\ndef f(): return Fraction(1, 3), Decimal('0.10'), datetime.date(2024, 2, 29)",
    "from fractions import Fraction\nfrom decimal import Decimal\nimport datetime\nassert f() == (Fraction(2, 6), Decimal('0.1'), datetime.date(2024, 2, 29))",
  ),
  mbpp(
    "counters and deques",
    "from collections import Counter, deque, defaultdict, OrderedDict\ndef f(s): return Counter(s)\ndef g(x): return deque(x, 2)\ndef h(): return defaultdict(int, {1: 2})",
    "assert f('aab') == {'a': 2, 'b': 1} and f('aab').most_common(1) == [('a', 2)]",
    "from collections import deque\nassert g([1, 2, 3]) == deque([2, 3])",
    "assert h() == {1: 2}",
  ),
  mbpp(
    "a named tuple",
    "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(x): return P(x, x + 1)",
    "assert f(1) == (1, 2) and f(1).y == 2",
    "assert f(3) == P(3, 4)",
  ),
  mbpp(
    "an enumeration",
    "import enum\nclass Color(enum.Enum):\n    RED = 1\n    BLUE = 2\ndef f(s): return Color[s.upper()]",
    "assert f('red') == Color.RED and f('blue') is Color.BLUE",
    "assert f('red').name == 'RED' and f('red') != Color.BLUE",
  ),
  mbpp(
    "a dataclass",
    DATACLASS,
    "assert move(1, 2) == Point(2, 3)",
    "assert Point(2) != move(1, 2) and Point(y=3, x=2) == move(1, 2)",
    "assert move(0, 0).x == 1 and len({move(0, 0), move(0, 0)}) == 1",
  ),
  mbpp(
    "a dataclass of lists",
    "from dataclasses import dataclass, field\n@dataclass\nclass Bag:\n    items: list = field(default_factory=list)\ndef f(x): return Bag([x])",
    "assert f(1) == Bag([1])",
    "b = f(1)\nassert b.items == [1]",
  ),
  mbpp(
    "a class with its own equality",
    "class V:\n    def __init__(s, x, y): s.x, s.y = x, y\n    def __add__(s, o): return V(s.x + o.x, s.y + o.y)\n    def __eq__(s, o): return isinstance(o, V) and (s.x, s.y) == (o.x, o.y)\n    def __repr__(s): return f'V({s.x}, {s.y})'",
    "assert V(1, 2) + V(3, 4) == V(4, 6)",
    "assert repr(V(1, 2)) == 'V(1, 2)' and str(V(1, 2) + V(1, 1)) == 'V(2, 3)'",
  ),
  mbpp(
    "a stack",
    "class Stack:\n    def __init__(self): self._items = []\n    def push(self, x): self._items.append(x)\n    def pop(self):\n        if not self._items: raise IndexError('empty')\n        return self._items.pop()\n    def __len__(self): return len(self._items)\n    def is_empty(self): return not self._items",
    "s = Stack()\nassert s.is_empty()\ns.push(1)\ns.push([2])\nassert len(s) == 2 and s.pop() == [2] and s.pop() == 1\ntry:\n    s.pop()\n    assert False\nexcept IndexError as error:\n    assert 'empty' in str(error)",
  ),
  mbpp(
    "a cache",
    "from collections import OrderedDict\nclass LRU(OrderedDict):\n    def __init__(self, n):\n        super().__init__()\n        self.n = n\n    def get(self, k):\n        if k not in self: return -1\n        self.move_to_end(k)\n        return self[k]\n    def put(self, k, v):\n        self[k] = v\n        self.move_to_end(k)\n        if len(self) > self.n: self.popitem(last=False)",
    "c = LRU(2)\nc.put(1, 1)\nc.put(2, 2)\nassert c.get(1) == 1\nc.put(3, 3)\nassert c.get(2) == -1 and len(c) == 2",
  ),
  mbpp(
    "a tree that the test builds",
    "class Node:\n    def __init__(self, v, left=None, right=None): self.v, self.left, self.right = v, left, right\ndef depth(n): return 0 if n is None else 1 + max(depth(n.left), depth(n.right))\ndef flip(n):\n    if n: n.left, n.right = flip(n.right), flip(n.left)\n    return n",
    "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(4)\nassert depth(root) == 3 and depth(None) == 0",
    "t = flip(Node(1, Node(2), None))\nassert t.left is None and t.right.v == 2",
  ),
  mbpp(
    "a list with links",
    "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\ndef reverse(head):\n    out = None\n    while head: out, head = ListNode(head.val, out), head.next\n    return out",
    "def build(items):\n    head = None\n    for x in reversed(items): head = ListNode(x, head)\n    return head\ndef values(n):\n    out = []\n    while n:\n        out.append(n.val)\n        n = n.next\n    return out\nassert values(reverse(build([1, 2, 3]))) == [3, 2, 1]\nassert reverse(None) is None",
  ),
  mbpp(
    "objects of the test's",
    "def total(shop): return sum(i.price * n for i, n in shop.items()) if shop else 0",
    "class Item:\n    def __init__(self, price): self.price = price\nassert total({Item(2): 3, Item(5): 1}) == 11\nassert total({}) == 0",
  ),
  mbpp(
    "functions of the test's",
    "def apply(f, xs): return [f(x) for x in xs]\ndef twice(f): return lambda x: f(f(x))",
    "assert apply(lambda x: x * 2, [1, 2]) == [2, 4] and apply(str, [1]) == ['1']",
    "def inc(x):\n    return x + 1\nassert twice(inc)(5) == 7 and twice(twice(inc))(0) == 4",
    "import operator\nfrom functools import partial\nassert apply(partial(operator.add, 1), [1]) == [2] and apply(abs, [-1]) == [1]",
  ),
  mbpp(
    "an error of the test's function",
    "def safe(f, x):\n    try: return f(x)\n    except ZeroDivisionError: return None",
    "assert safe(lambda x: 1 / x, 0) is None and safe(lambda x: 1 / x, 2) == 0.5",
  ),
  mbpp(
    "an argument that is changed",
    "def order(a): a.sort()\ndef fill(d, s): d['k'] = [1]; s.add(3)",
    "a = [3, 1, 2]\nassert order(a) is None\nassert a == [1, 2, 3]",
    "d, s = {}, {1}\nfill(d, s)\nassert d == {'k': [1]} and s == {1, 3}",
  ),
  mbpp(
    "an argument that comes back",
    "def same(a): return a\ndef loop():\n    a = [1]\n    a.append(a)\n    return a",
    "a = [1, [2]]\nassert same(a) is a and same(a)[1] is a[1]",
    "x = loop()\nassert x[1] is x and x[0] == 1",
  ),
  mbpp(
    "an error that is wanted",
    "def parse(s):\n    if not s.isdigit(): raise ValueError(f'no number: {s}')\n    return int(s)",
    "try:\n    parse('x')\n    assert False, 'no error'\nexcept ValueError as error:\n    assert str(error) == 'no number: x'\nassert parse('7') == 7",
    "try:\n    parse('x')\n    assert False\nexcept ValueError:\n    pass",
  ),
  mbpp(
    "an error of the program's own",
    "class Empty(LookupError):\n    def __init__(self, what, code):\n        super().__init__(what)\n        self.code = code\ndef get(): raise Empty('nothing', 7)",
    "try:\n    get()\n    assert False\nexcept Empty as error:\n    assert error.code == 7 and str(error) == 'nothing' and isinstance(error, LookupError)",
  ),
  mbpp(
    "a program that prints",
    "def hello(n):\n    print('hello', n)\n    return n",
    "import io, sys\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n    assert hello('Ann') == 'Ann'\nassert out.getvalue() == 'hello Ann\\n'",
  ),
  mbpp(
    "a function by a builtin's name",
    "def sum(a, b):\n    total = 1\n    for i in range(2, min(a, b)):\n        if a % i == 0 and b % i == 0: total += i\n    return total",
    "assert sum(10, 15) == 6",
    "assert sum(100, 150) == 93",
  ),
  mbpp("the test's imports", "def f(x): return math.floor(x)", "import math\nassert f(2.5) == math.floor(2.5) == 2"),
  mbpp(
    "library names without imports",
    "from collections import Counter\nfrom math import isclose\ndef letters(s): return Counter(s)\ndef share(s): return 2 / 3",
    "assert letters('aab') == Counter('aba') and isclose(share('x'), 0.6666666667)",
  ),
  mbpp(
    "a function by a library's name",
    "def gcd(a, b):\n    while b: a, b = b, a % b\n    return a",
    "assert gcd(12, 18) == 6",
  ),
  mbpp(
    "types and documents",
    "def f(x):\n    'doubles'\n    return [x, x]",
    "assert type(f(1)) is list and isinstance(f(1), list) and type(f(1)[0]) == int",
    "assert callable(f) and f.__name__ == 'f'",
  ),
  mbpp(
    "unittest",
    "def f(x): return x + 1",
    "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(1), 2)\n        with self.assertRaises(TypeError): f('a')\nresult = unittest.TextTestRunner(stream=__import__('io').StringIO()).run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\nassert result.wasSuccessful() and result.testsRun == 1",
  ),
  checked(
    "check(candidate)",
    "f",
    "def f(a, b=1): return a + b",
    "assert candidate(1, 2) == 3\nassert candidate(1) == 2, 'default'\nassert candidate(a=2, b=5) == 7\nassert True, 'the end'",
  ),
  checked(
    "a helper in a loop",
    "decode",
    "def encode(s): return s[::-1]\ndef decode(s): return s[::-1]",
    "import random\nfor _ in range(20):\n    word = ''.join(random.choice('abc') for _ in range(9))\n    assert candidate(encode(word)) == word",
    "def encode(s):\n    return s[::-1]\n\ndef decode(s):\n    ''' undoes encode '''\n",
  ),
  checked(
    "a root of a polynomial",
    "root",
    "import math\ndef poly(cs, x): return sum(c * math.pow(x, i) for i, c in enumerate(cs))\ndef root(cs): return -cs[0] / cs[1]",
    "import math, copy\nfor cs in [[1.0, 2.0], [-3.0, 1.5]]:\n    x = candidate(copy.deepcopy(cs))\n    assert math.fabs(poly(cs, x)) < 1e-4",
    "import math\n\ndef poly(xs: list, x: float):\n    return sum([coeff * math.pow(x, i) for i, coeff in enumerate(xs)])\n\ndef root(xs: list):\n    ''' where poly is 0 '''\n",
  ),
  {
    name: "a method of Solution",
    task: {
      code: "class Solution:\n    def add(self, a: int, b: int) -> int: return a + b",
      ...testsOf({ test: "def check(candidate):\n    assert candidate(1, 2) == 3\n", entry_point: "Solution().add" }),
    },
  },
  {
    name: "integers beyond doubles",
    task: {
      code: "def f(a): return [a + 1, {'k': a}]",
      tests: [
        {
          kind: "call",
          name: "f",
          args: "[9007199254740993]",
          expected: ['[9007199254740994, {"k": 9007199254740993}]'],
        },
      ],
    },
  },
  {
    name: "printing",
    task: {
      code: "print(int(input()) ** 2)",
      tests: [{ kind: "stdin", input: "9007199254740993\n", output: "81129638414606699710187514626049\n" }],
    },
  },
];
