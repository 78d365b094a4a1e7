import { describe, expect, it } from "vitest";
import { renderJinja } from "../../../src/data/jinja/jinja.ts";
import { parsePythonJson } from "../../../src/text/python-json.ts";
import { cpuTime } from "../../cpu-time.ts";

/** Variables as parsed from a JSONL row. */
const variables = parsePythonJson(
  `{"x": 20.0, "i": 9007199254740993, "e": 1e-07, "b": 1e+16, "t": true, "n": null, "neg": -5, "u": "naïve 😀",
    "s": "a'b\\"é\\n", "l": [1, 2.0, "q", null, true, {"10": 1, "9": 2.50, "a": []}], "d": {"z": 1, "10": 1e3, "9": -0.0}}`,
) as Record<string, unknown>;

describe("renderJinja writes what Python's Jinja2 writes", () => {
  // Right-hand sides are jinja2 3.1's with transformers' environment.
  it.each([
    ["{{ x }} {{ i }} {{ e }} {{ b }} {{ t }} {{ n }} {{ u }}", "20.0 9007199254740993 1e-07 1e+16 True None naïve 😀"],
    ["{{ l }}", "[1, 2.0, 'q', None, True, {'10': 1, '9': 2.5, 'a': []}]"],
    ["{{ l | tojson }}", '[1, 2.0, "q", null, true, {"10": 1, "9": 2.5, "a": []}]'],
    ["{{ d | tojson }}", '{"z": 1, "10": 1000.0, "9": -0.0}'],
    ["{{ d | tojson(sort_keys=true) }}", '{"10": 1000.0, "9": -0.0, "z": 1}'],
    ["{{ d | tojson(indent=2) }}", '{\n  "z": 1,\n  "10": 1000.0,\n  "9": -0.0\n}'],
    ["{{ s | tojson(ensure_ascii=true) }}", '"a\'b\\"\\u00e9\\n"'],
    ["{{ [s] }}", "['a\\'b\"é\\n']"],
    ["{{ x | string ~ t | string }}", "20.0True"],
    ["{{ i + i }} {{ i * neg }} {{ i % neg }} {{ neg // 2 }}", "18014398509481986 -45035996273704965 -2 -3"],
    ["{{ '1' == 1 }} {{ 1 == 1.0 }} {{ [1] == [1.0] }} {{ d == d }}", "False True True True"],
    ["{{ u | length }} {{ (1, 2) }} {{ 4 / 2 }}", "7 (1, 2) 2.0"],
    ["{{ ['a', 1.0, none] | join('-') }}", "a-1.0-None"],
    ["{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "z=1;10=1000.0;9=-0.0;"],
    // a template saved on Windows
    ["a\r\nb {% if t %}\r\nc\r\n{% endif %}\r\nd\r\n", "a\nb c\nd"],
    ["{%- if t %}\r\n  x\r\n  {%- endif %}\r\ny\rz", "  xy\nz"],
  ])("%j", (template, wanted) => expect(renderJinja(template, variables)).toBe(wanted));

  it.each([
    ["{{ 'a' + l }}", "adds text and a array"],
    ["{{ 'a' + x }}", "adds text and a float"],
    ["{{ nothing | tojson }}", "Object of type Undefined is not JSON serializable"],
    ["{{ 1 // 0 }}", "divides by zero"],
  ])("refuses what Python refuses: %s", (template, reason) =>
    expect(() => renderJinja(template, variables)).toThrow(reason),
  );
});

const doubling = "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}";
const large = (piece: string) =>
  `{% set ns = namespace(s='${piece}') %}{% for i in range(21) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}`;

describe("a hostile template is stopped soon", () => {
  it.each([
    ["a doubled list as JSON", `${doubling}{{ ns.l | tojson }}`],
    ["a doubled list as text", `${doubling}{{ ns.l | string }}`],
    ["a doubled list as output", `${doubling}{{ ns.l }}`],
    [
      "namespaces in namespaces",
      "{% set ns = namespace(l=1) %}{% for i in range(60) %}{% set ns.l = namespace(a=ns.l, b=ns.l) %}{% endfor %}",
    ],
    ["a namespace in itself", "{% set ns = namespace() %}{% set ns.l = [ns] %}{{ ns.l | tojson }}"],
    [
      "a list in a list, for ever",
      "{% set ns = namespace(l=1) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
    ],
    ["a wide margin", "{{ 'a\nb' | indent(1000000000) }}"],
    [
      "white space that is stripped again and again",
      `${large("  ")}{% for i in range(9999) %}{% set x = ns.s.strip() %}{% endfor %}`,
    ],
    [
      "long text, looked through",
      `${large("ab")}{% for i in range(9999) %}{% if 'ba' ~ i in ns.s %}{% endif %}{% endfor %}`,
    ],
    ["long text, backwards", `${large("ab")}{% for i in range(9999) %}{% set x = ns.s[::-1] %}{% endfor %}`],
    ["long text, printed", `${large("ab")}{% for i in range(9999) %}{{ ns.s }}{% endfor %}`],
    ["a long list, sorted", "{% set l = range(99999) %}{% for i in range(9999) %}{% set x = l | sort %}{% endfor %}"],
    [
      "a growing replacement",
      "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s.replace('a', 'aaaaaaaaa') %}{% endfor %}",
    ],
    [
      "squares of squares",
      "{% set ns = namespace(i=10) %}{% for i in range(99) %}{% set ns.i = ns.i * ns.i %}{% endfor %}",
    ],
  ])("%s", (_, template) => {
    const spent = cpuTime();
    expect(() => renderJinja(template, {})).toThrow(/more than|has no text/);
    expect(spent()).toBeLessThan(10);
  });
});
