import type { ReplyShape } from "../documents/reply.ts";
import { ACCEPT, type Automaton, AutomatonBuilder } from "./automaton.ts";

/**
 * The grammar of a reply: exactly the JSON that its prompt asks for, with the keys in their order. Null for plain text.
 *
 * Pairs are a list of at least one object with texts that are not empty; marks are one object for each pair, in order.
 */
export function grammarOf(shape: ReplyShape): Automaton | null {
  if (shape.kind === "text") return null;
  const build = new AutomatonBuilder();
  if (shape.kind === "pairs") return build.build(pairsOf(build, shape.fields));
  let next = build.space(build.literal("]", ACCEPT));
  for (let id = shape.count; id >= 1; id--) {
    next = markOf(build, id, shape.field, next);
    next = id > 1 ? build.space(build.literal(",", build.space(next))) : build.space(next);
  }
  return build.build(build.literal("[", next));
}

function pairsOf(build: AutomatonBuilder, fields: readonly string[]): number {
  // the states before an item lead to its first key, which is known only at the end: both are filled last
  const [list, comma] = [build.state(), build.state()];
  const after = build.state();
  build.edge(after, "]", ACCEPT);
  build.edge(after, ",", comma);
  let next = build.space(build.literal("}", build.space(after)));
  for (const [i, field] of [...fields].reverse().entries()) {
    if (i > 0) next = build.space(build.literal(",", build.space(next)));
    next = build.literal(`"${field}"`, build.space(build.literal(":", build.space(build.string(next)))));
  }
  const item = build.space(build.literal("{", build.space(next)));
  build.fill(list, item);
  build.fill(comma, item);
  return build.literal("[", list);
}

function markOf(build: AutomatonBuilder, id: number, field: "rating" | "supported", next: number): number {
  const end = build.space(build.literal("}", next));
  const value = build.state();
  if (field === "rating") {
    build.edge(value, "23456789", end);
    const one = build.copy(end);
    build.edge(one, "0", end);
    build.edge(value, "1", one);
  } else {
    build.edge(value, "t", build.literal("rue", end));
    build.edge(value, "f", build.literal("alse", end));
  }
  const key = (name: string, then: number) =>
    build.literal(`"${name}"`, build.space(build.literal(":", build.space(then))));
  const rest = build.literal(String(id), build.space(build.literal(",", build.space(key(field, value)))));
  return build.literal("{", build.space(key("id", rest)));
}
