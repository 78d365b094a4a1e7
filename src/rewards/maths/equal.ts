import { type Expression, isScalar, keyOf, type Relation, symbolsOf } from "./expression.ts";
import { asMatrix } from "./matrices.ts";
import { namedValue, renamed, sameName, withoutPlusMinus } from "./names.ts";
import { equals, ONE, rational } from "./rational.ts";
import { type Comparison, equalScalars, proportional } from "./scalars.ts";
import { equalSets, realSet } from "./sets.ts";
import { conversion } from "./units.ts";

/** Longest list whose elements are matched in any order; longer lists are compared in order. */
const MAX_UNORDERED = 64;

/** Whether two answers are equal. Changes neither; ends at the latest when the comparison's budget is used up. */
export function equalAnswers(gold: Expression, pred: Expression, comparison: Comparison): boolean {
  if (!comparison.budget.spend(1)) return false;
  const again = (a: Expression, b: Expression) => equalAnswers(a, b, comparison);
  if (keyOf(gold) === keyOf(pred)) return true;

  const [goldSigns, predSigns] = [withoutPlusMinus(gold), withoutPlusMinus(pred)];
  if (goldSigns.length > 1 || predSigns.length > 1) return again(listOf(gold), listOf(pred));

  const [a, b] = [namedValue(gold), namedValue(pred)];
  if (a && b && sameName(a, b) && again(a.value, renamed(b.value, b.parameters, a.parameters))) return true;
  if (a && !b && pred.kind !== "relation") return again(a.value, pred);
  if (b && !a && gold.kind !== "relation") return again(gold, b.value);

  if (isSetLike(gold) || isSetLike(pred)) {
    const [x, y] = [realSet(gold, comparison.budget), realSet(pred, comparison.budget)];
    if (x && y) return equalSets(x, y);
  }
  if (gold.kind === "relation" && pred.kind === "relation") return equalRelations(gold, pred, comparison);
  if (gold.kind === "relation" || pred.kind === "relation") return false;
  if (gold.kind === "setop" && pred.kind === "setop") {
    if (gold.name !== pred.name) return false;
    if (gold.name === "minus") return again(gold.left, pred.left) && again(gold.right, pred.right);
    return unordered(partsOf(gold), partsOf(pred), again);
  }
  if (gold.kind === "interval" && pred.kind === "interval") {
    const same = gold.closedFrom === pred.closedFrom && gold.closedTo === pred.closedTo;
    return same && again(gold.from, pred.from) && again(gold.to, pred.to);
  }
  if (gold.kind === "quantity" || pred.kind === "quantity") return equalQuantities(gold, pred, comparison);

  const [m, n] = [asMatrix(gold), asMatrix(pred)];
  if (m && n) return m.length === n.length && m.every((row, i) => inOrder(row, n[i], again));
  if (m || n) {
    const [matrix, other] = m ? [m, pred] : [n!, gold];
    const vector = matrix.length === 1 ? matrix[0] : matrix.every((row) => row.length === 1) ? matrix.flat() : null;
    return vector !== null && other.kind === "tuple" && inOrder(vector, other.items, again);
  }
  if (isScalar(gold) && isScalar(pred)) return equalScalars(gold, pred, comparison);
  if (gold.kind === "text" || pred.kind === "text") return equalTexts(gold, pred);
  return isCollection(gold) || isCollection(pred) ? equalCollections(gold, pred, again) : false;
}

/** Words and names, case-insensitive; a name is a word of one letter or more. */
function equalTexts(gold: Expression, pred: Expression): boolean {
  const [a, b] = [gold, pred].map((e) => {
    const parts = e.kind === "product" ? e.factors : [e];
    const names = parts.map((part) => (part.kind === "text" ? part.text : "name" in part ? part.name : null));
    return names.includes(null) ? null : names.join("").toLowerCase();
  });
  return a !== null && a === b;
}

type Equal = (a: Expression, b: Expression) => boolean;

function equalCollections(gold: Expression, pred: Expression, equal: Equal): boolean {
  const [a, b] = [collectionOf(gold), collectionOf(pred)];
  if (a.ordered && b.ordered) return inOrder(a.items, b.items, equal);
  // (1, 3) matches 1, 3 but does not match {1, 3} in another order
  if (a.ordered || b.ordered) return a.isSet || b.isSet ? false : inOrder(a.items, b.items, equal);
  if (unordered(a.items, b.items, equal)) return true;
  // a repeated solution counts once, unless the expected answer repeats it
  const once = distinct(a.items, equal);
  const may = a.isSet || b.isSet || a.either || once.length === a.items.length;
  return may && unordered(once, distinct(b.items, equal), equal);
}

interface Collection {
  items: readonly Expression[];
  ordered: boolean;
  isSet: boolean;
  /** its items were joined by "or": perhaps one answer in two spellings */
  either?: boolean;
}

function isCollection({ kind }: Expression): boolean {
  return kind === "list" || kind === "set" || kind === "tuple" || kind === "interval" || kind === "ratio";
}

function collectionOf(e: Expression): Collection {
  switch (e.kind) {
    case "list":
      return { items: e.items, ordered: false, isSet: false, either: e.or };
    case "set":
      return { items: e.items.flatMap(itemsOf), ordered: false, isSet: true };
    case "tuple":
      return { items: e.items, ordered: e.bracket === "(", isSet: false };
    case "interval":
      return { items: [e.from, e.to], ordered: true, isSet: !(e.closedFrom && e.closedTo) };
    case "ratio":
      return { items: e.parts, ordered: true, isSet: true };
    default:
      return { items: [e], ordered: false, isSet: false };
  }
}

/** An expression as a list: a ± b as two items, also inside a list's items. */
function listOf(e: Expression): Expression {
  return { kind: "list", items: itemsOf(e), or: e.kind === "list" && e.or };
}

function itemsOf(e: Expression): Expression[] {
  return e.kind === "list" || e.kind === "set" ? e.items.flatMap(withoutPlusMinus) : withoutPlusMinus(e);
}

function inOrder(a: readonly Expression[], b: readonly Expression[], equal: Equal): boolean {
  return a.length === b.length && a.every((item, i) => equal(item, b[i]));
}

function unordered(a: readonly Expression[], b: readonly Expression[], equal: Equal): boolean {
  if (a.length !== b.length) return false;
  if (a.length > MAX_UNORDERED) return inOrder(a, b, equal);
  const left = [...b];
  return a.every((item) => {
    const key = keyOf(item);
    const same = left.findIndex((other) => keyOf(other) === key);
    const at = same >= 0 ? same : left.findIndex((other) => equal(item, other));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

function distinct(items: readonly Expression[], equal: Equal): Expression[] {
  if (items.length > MAX_UNORDERED) return [...items];
  const kept: Expression[] = [];
  for (const item of items) if (!kept.some((other) => equal(other, item))) kept.push(item);
  return kept;
}

function partsOf(e: Expression): Expression[] {
  return e.kind === "setop" && e.name !== "minus" ? [...partsOf(e.left), ...partsOf(e.right)] : [e];
}

/** Whether an answer can only be a set of reals. (a, b) is a point if both answers have this form. */
function isSetLike(e: Expression): boolean {
  if (e.kind === "relation") return e.ops.some((op) => op !== "=");
  if (e.kind === "list")
    return e.items.length > 0 && e.items.every((item) => item.kind === "relation" && isSetLike(item));
  return e.kind === "interval" || e.kind === "setop" || (e.kind === "symbol" && e.name === "ℝ");
}

const FLIPPED: Readonly<Record<Relation, Relation | null>> = {
  "=": "=",
  "≠": "≠",
  "<": ">",
  ">": "<",
  "≤": "≥",
  "≥": "≤",
  "∈": null,
};

type Related = Extract<Expression, { kind: "relation" }>;

function equalRelations(gold: Related, pred: Related, comparison: Comparison): boolean {
  if (gold.ops.length !== pred.ops.length) return false;
  const again = (a: Expression, b: Expression) => equalAnswers(a, b, comparison);
  const backwards = [...pred.ops].reverse().map((op) => FLIPPED[op]);
  const straight = gold.ops.every((op, i) => op === pred.ops[i]);
  if (straight && inOrder(gold.sides, pred.sides, again)) return true;
  const turned = gold.ops.every((op, i) => op === backwards[i]);
  if (turned && inOrder(gold.sides, [...pred.sides].reverse(), again)) return true;
  if (gold.ops.length > 1 || gold.ops[0] === "∈" || !gold.sides.every(isScalar) || !pred.sides.every(isScalar)) {
    return false;
  }
  const [f, g] = [gold, pred].map(
    ({ sides }): Expression => ({
      kind: "sum",
      terms: [sides[0], { kind: "negative", arg: sides[1] }],
    }),
  );
  if (symbolsOf(f).size === 0 || symbolsOf(g).size === 0) return false;
  const sign = proportional(f, g, comparison);
  if (sign === null) return false;
  if (gold.ops[0] === "=" || gold.ops[0] === "≠") return straight;
  return sign > 0 ? straight : sign < 0 && gold.ops[0] === FLIPPED[pred.ops[0]];
}

/** Values with units, percents, degrees and money; a unit that is missing on one side is not an error. */
function equalQuantities(gold: Expression, pred: Expression, comparison: Comparison): boolean {
  const again = (a: Expression, b: Expression) => equalAnswers(a, b, comparison);
  const a = gold.kind === "quantity" ? gold : null;
  const b = pred.kind === "quantity" ? pred : null;
  const plain = again(a?.value ?? gold, b?.value ?? pred);
  if (a?.unit === "percent" || b?.unit === "percent") {
    if (plain || a?.unit === b?.unit) return plain;
    return isScalar(gold) && isScalar(pred) && equalScalars(gold, pred, comparison);
  }
  if (!a || !b) {
    const angle = (a ?? b)!.unit === "deg" && !plain && isScalar(gold) && isScalar(pred);
    return plain || (angle && /pi/.test(keyOf(a ? pred : gold)) && equalScalars(gold, pred, comparison));
  }
  const factor = conversion(b.unit, a.unit);
  if (factor === null) return false;
  const { num, pi } = factor;
  if (pi === 0 && equals(num, ONE)) return plain;
  if (!isScalar(a.value) || !isScalar(b.value) || symbolsOf(b.value).size > 0) return false;
  const size: Expression = { kind: "number", value: num, decimals: null, base: null };
  const exponent: Expression = { ...size, value: rational(BigInt(pi))! };
  const turned: Expression = { kind: "power", base: { kind: "constant", name: "pi" }, exponent };
  return again(a.value, { kind: "product", factors: [b.value, size, ...(pi === 0 ? [] : [turned])] });
}
