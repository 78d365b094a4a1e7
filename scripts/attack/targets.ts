import type { CodeTask, CodeTest } from "../../src/rewards/code/tests.ts";
import { testsOf } from "../../src/rewards/code/tests.ts";

/** A program and its tests. */
export interface Attempt {
  name: string;
  task: CodeTask;
}

/** Tests for programs, in the forms that data sets use. */
const TARGETS = {
  humaneval: testsOf({
    prompt: "def square(x: int) -> int:\n    ''' x times x '''\n",
    test: "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n    assert candidate(-5) == 25\n",
    entry_point: "square",
  }),
  mbpp: testsOf({ test_list: ["assert square(2) == 4", "assert square(3) == 9", "assert square(-5) == 25"] }),
  loop: testsOf({
    test_list: ["cases = [(2, 4), (3, 9)]\nfor given, wanted in cases:\n    assert square(given) == wanted"],
  }),
  close: testsOf({
    test_list: [
      "import math\nassert math.isclose(area(1), 3.14159, rel_tol=1e-4)",
      "assert abs(area(2) - 12.566) < 1e-2",
    ],
  }),
  counted: testsOf({
    test_list: ["assert Counter(letters('aab')) == Counter({'a': 2, 'b': 1})\nassert isclose(share('aab'), 2 / 3)"],
  }),
  library: testsOf({ test_list: ["assert np.allclose(area(1), 3.14159)"] }),
  listed: testsOf({
    test_list: [
      "assert sorted(evens([4, 1, 2])) == [2, 4]",
      "assert set(evens([1, 3, 6])) == {6}",
      "assert len(evens([2, 2])) == 2",
    ],
  }),
  truth: testsOf({
    test_list: [
      "assert is_prime(7)\nassert not is_prime(8)",
      "assert is_prime(9) is False\nassert is_prime(11) is True",
    ],
  }),
  raises: testsOf({
    test_list: [
      "try:\n    parse('x')\n    assert False\nexcept ValueError as error:\n    assert str(error) == 'no number: x'\nassert parse('7') == 7",
    ],
  }),
  point: testsOf({
    test_list: [
      "assert move(1, 2) == Point(2, 3)",
      "assert Point(5, 6) == move(4, 5)",
      "assert move(0, 0) != Point(0, 0) and move(0, 0) == Point(1, 1)",
    ],
  }),
  text: testsOf({
    test_list: [
      "assert greet('Ann').startswith('Hello, ')\nassert greet('Ann').endswith('Ann!')\nassert isinstance(greet('Bo'), str)",
    ],
  }),
  helper: testsOf({
    prompt: "def encode(s):\n    return s[::-1]\n\ndef decode(s):\n    ''' undoes encode '''\n",
    test: "def check(candidate):\n    for word in ['abc', 'hello', 'xyzzy']:\n        assert candidate(encode(word)) == word\n    assert candidate('ab') == 'ba'\n",
    entry_point: "decode",
  }),
  swallow: testsOf({
    test_list: [
      "failures = []\nfor x, y in [(2, 4), (3, 9)]:\n    try:\n        assert square(x) == y\n    except AssertionError:\n        failures.append(x)\nassert failures == []",
    ],
  }),
  mutate: testsOf({
    test_list: [
      "a = [3, 1, 2]\norder(a)\nassert a == [1, 2, 3]",
      "b = [5, 4]\nassert order(b) is None and b == [4, 5]",
    ],
  }),
  stdin: {
    tests: [
      { kind: "stdin", input: "2\n", output: "4\n" },
      { kind: "stdin", input: "3\n", output: "9\n" },
    ] as CodeTest[],
  },
  call: {
    tests: [
      { kind: "call", name: "square", args: "[2]", expected: ["4"] },
      { kind: "call", name: "square", args: "[3]", expected: ["9"] },
    ] as CodeTest[],
  },
} satisfies Record<string, Omit<CodeTask, "code">>;

type Target = keyof typeof TARGETS;

export const attempt = (target: Target, name: string, code: string): Attempt => ({
  name: `${target}: ${name}`,
  task: { ...TARGETS[target], code },
});
