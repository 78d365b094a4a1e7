import { testsOf } from "../../src/rewards/code/tests.ts";
import type { Attempt } from "./targets.ts";

/** A program that answers the test's side with random mutations of its answers: other values, missing parts. */
const program = (seed: number) => `
import gc, random
R = random.Random(${seed})
ATOMS = [None, True, False, "", "4", "x", {"i": "0x4"}, {"i": "0x9"}, {"i": "zz"}, {"f": "nan"}, {"l": []}, {"t": []}, {"d": []}, {"r": 0}, {"y": 0}, {"g": "bool"}, {"g": "object"}, {"m": "os"},
  {"h": 5, "k": "f", "name": "f"}, {"h": 6, "k": "i"}, {"h": 7, "k": "o", "c": {"h": 8, "k": "c", "name": "C", "bases": [], "ops": ["__eq__", "__bool__", "__len__", "__call__", "__getitem__"]}, "s": []},
  {"h": 9, "k": "c", "name": "D", "bases": [], "ops": ["__eq__"], "fields": [["x", {"i": "0x1"}]]}, {"e": [{"h": 10, "k": "c", "name": "E", "bases": [], "ops": [], "enum": ["IntEnum", [["A", {"i": "0x4"}]]]}, "A"]},
  {"n": [{"h": 11, "k": "c", "name": "N", "bases": [], "ops": [], "tuple": [["a"], []]}, [{"i": "0x4"}]]}, {"o": ["Counter", [["a", {"i": "0x1"}]]]}, {"q": [[], None]}, {"T": ["Decimal", "4"]}, {"F": ["0x4", "0x1"]}, 4, 9.0, [], {}]
def mutate(v, d=0):
    if R.random() < 0.25 or d > 5: return R.choice(ATOMS)
    if isinstance(v, dict):
        out = {k: (mutate(x, d + 1) if R.random() < .5 else x) for k, x in v.items()}
        if R.random() < .2: out[R.choice(["v", "ch", "error", "exit", "h", "k"])] = R.choice(ATOMS)
        return out
    if isinstance(v, list): return [mutate(x, d + 1) for x in v] + ([R.choice(ATOMS)] if R.random() < .2 else [])
    return v
def square(x): return R.choice([None, 4, [4], {"a": 1}, object(), {4}, (4,)])
def evens(a): return square(a)
for item in gc.get_objects():
    if type(item).__name__ == 'Side':
        item.serve = lambda m, old=item.serve: mutate(old(m)) if m.get("op") != "names" or R.random() < .3 else old(m)
`;

const TESTS = [
  "assert square(2) == 4\nassert square(3) == 9\nassert square(-5) == 25",
  "assert sorted(evens([4, 1, 2])) == [2, 4]\nassert set(evens([1, 3, 6])) == {6}\nassert 5 > len(evens([2, 2])) == 2",
];

/** Programs with random answers. None may pass, and none may break other rows. */
export const fuzzed = (count: number): Attempt[] =>
  Array.from({ length: count }, (_, seed) => ({
    name: `random answers ${seed}`,
    task: { ...testsOf({ test_list: [TESTS[seed % TESTS.length]] }), code: program(seed) },
  }));
